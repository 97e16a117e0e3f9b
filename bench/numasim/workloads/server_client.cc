// server_client: makes work for a memcached or redis-server in the guest and counts meanwhile. An
// operation is a request: a set or a get, half of each, of 10,000 keys with values of 32 to 287
// bytes.
//
//   server_client SERVER ALLOCATOR LIBRARY SCALE PID SOCKET
//
// A memcached's threads are pinned to a CPU each before there are connections: it keeps those with
// a thread, and only where threads stay is a connection's memory not the program's own sharing.
//
// Linked statically to addresses that no other program has, by which the simulator knows its code.

#include <dirent.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bench/numasim/workloads/blocks.h"
#include "bench/numasim/workloads/process.h"
#include "bench/numasim/workloads/say.h"

// The linker's names for the ends of the code.
extern "C" const char __executable_start[], etext[];

namespace numasim {
namespace {

constexpr int kConnections = 16;
constexpr size_t kKeys = 10000;
constexpr size_t kRequests = 1500, kWarmUp = 1000;  // per connection

int Connect(const char* path) {
  sockaddr_un address = {AF_UNIX, {}};
  std::strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
  for (int tries = 0; tries < 1000; ++tries) {  // it may still be starting
    const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return socket;
    close(socket);
    usleep(10000);
  }
  std::perror(path);
  std::exit(1);
}

void PinThreads(int pid) {
  char path[32];
  std::snprintf(path, sizeof(path), "/proc/%d/task", pid);
  DIR* tasks = opendir(path);
  if (tasks == nullptr) {
    std::perror(path);
    std::exit(1);
  }
  const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  int number = 0;
  while (const dirent* task = readdir(tasks)) {
    if (task->d_name[0] == '.') continue;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(number++ % cpus), &set);
    sched_setaffinity(std::atoi(task->d_name), sizeof(set), &set);
  }
  closedir(tasks);
}

// What a server wants to be told: the key, the value's size twice, a 0 to be filled up with zeros.
struct Protocol {
  const char* server;
  const char* get;
  const char* set;
};
constexpr Protocol kProtocols[] = {
    {"memcached", "get key:%08zu\r\n", "set key:%08zu 0 0 %d\r\n%0*d\r\n"},
    {"redis", "*2\r\n$3\r\nGET\r\n$12\r\nkey:%08zu\r\n",
     "*3\r\n$3\r\nSET\r\n$12\r\nkey:%08zu\r\n$%d\r\n%0*d\r\n"},
};
const Protocol* protocol;

void SendRequest(int socket, Dice& dice) {
  char text[512];
  const size_t key = dice.Roll(kKeys);
  int length;
  if (dice.Roll(2) == 0) {
    length = std::snprintf(text, sizeof(text), protocol->get, key);
  } else {
    const int bytes = static_cast<int>(dice.RollSize());
    length = std::snprintf(text, sizeof(text), protocol->set, key, bytes, bytes, 0);
  }
  if (write(socket, text, static_cast<size_t>(length)) != length) {
    std::perror("write");
    std::exit(1);
  }
}

bool IsWhole(const char* answer) {
  for (const char* end : {"END\r\n", "STORED\r\n", "+OK\r\n", "$-1\r\n"}) {
    if (std::strstr(answer, end) != nullptr) return true;
  }
  // A value of redis: its size, and that many bytes with an end of line.
  size_t bytes;
  const char* value = std::strstr(answer, "\r\n");
  return value != nullptr && std::sscanf(answer, "$%zu", &bytes) == 1 &&
         std::strlen(value + 2) >= bytes + 2;
}

void ReadAnswer(int socket) {
  char text[1024];
  size_t length = 0;
  do {
    const ssize_t got = read(socket, text + length, sizeof(text) - 1 - length);
    if (got <= 0) {
      std::fprintf(stderr, "the server hung up\n");
      std::exit(1);
    }
    length += static_cast<size_t>(got);
    text[length] = '\0';
    if (text[0] == '-' || std::strstr(text, "ERROR") != nullptr) {
      std::fprintf(stderr, "the server says %s\n", text);
      std::exit(1);
    }
  } while (!IsWhole(text));
}

// A request is under way on each connection.
void Ask(const int* sockets, size_t requests, Dice& dice) {
  for (size_t n = 0; n < requests; ++n) {
    for (int i = 0; i < kConnections; ++i) SendRequest(sockets[i], dice);
    for (int i = 0; i < kConnections; ++i) ReadAnswer(sockets[i]);
  }
}

}  // namespace
}  // namespace numasim

int main(int argc, char** argv) {
  using namespace numasim;
  for (const Protocol& known : kProtocols) {
    if (argc == 7 && std::strcmp(argv[1], known.server) == 0) protocol = &known;
  }
  if (protocol == nullptr) {
    std::fprintf(stderr,
                 "usage: server_client memcached|redis ALLOCATOR LIBRARY SCALE PID SOCKET\n");
    return 2;
  }
  const double scale = std::atof(argv[4]);
  const auto scaled = [scale](size_t n) {
    return static_cast<size_t>(static_cast<double>(n) * scale);
  };
  const int pid = std::atoi(argv[5]);
  close(Connect(argv[6]));  // it has started its threads
  if (std::strcmp(argv[1], "memcached") == 0) {
    PinThreads(pid);
  } else {
    Say("forget");  // there are no declarations but the ones to come
  }
  int sockets[kConnections];
  for (int& socket : sockets) socket = Connect(argv[6]);
  Dice dice(1);
  Ask(sockets, scaled(kWarmUp), dice);
  DeclareProcess(pid, argv[3]);
  DeclareRegion("client-code", __executable_start, etext);
  StartCounting(argv[2], argv[1]);
  Ask(sockets, scaled(kRequests), dice);
  StopCounting(scaled(kRequests) * kConnections);
}
