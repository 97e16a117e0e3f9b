// server: a thread per connection, which the scheduler moves as it likes. An operation is a
// request.
//
// A thread waits until a request is there, and only then allocates: what it keeps while it waits is
// on its stack. The requests come from threads of the same process that allocate nothing.

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "bench/numasim/workloads/blocks.h"
#include "bench/numasim/workloads/workload.h"

namespace numasim {
namespace {

constexpr size_t kConnectionsPerCpu = 2, kConnectionsPerClient = 4;
constexpr size_t kRequests = 1000, kWarmUp = 200;  // per connection
constexpr size_t kBufferBytes = 4096;
constexpr size_t kMinFields = 16, kMaxFields = 48;
constexpr size_t kTableWords = 1 << 16;  // 512 KiB

struct Request {
  uint32_t fields;
  uint32_t keys[kMaxFields];
  uint16_t sizes[kMaxFields];
};

struct Connection {
  int client, server;
};

[[noreturn]] void Fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

NUMASIM_SHARED_CODE uint64_t LookUp(const uint64_t* table, uint32_t key) {
  return table[key % kTableWords];
}

void Serve(int socket, const uint64_t* table) {
  for (;;) {
    pollfd waiting = {socket, POLLIN, 0};
    if (poll(&waiting, 1, -1) != 1) Fail("poll");
    auto* request = reinterpret_cast<Request*>(Allocate(kBufferBytes));
    const ssize_t got = read(socket, request, kBufferBytes);
    if (got != sizeof(Request)) {
      std::free(request);
      if (got == 0) return;
      Fail("read");
    }
    // Each field becomes a block of its own, the list of them another.
    auto** fields = reinterpret_cast<Block**>(Allocate(request->fields * sizeof(Block*)));
    for (uint32_t i = 0; i < request->fields; ++i) {
      fields[i] = Allocate(request->sizes[i]);
      Fill(fields[i], request->sizes[i], LookUp(table, request->keys[i]));
    }
    auto* answer = Allocate(kBufferBytes);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < request->fields; ++i) sum += Sum(fields[i], request->sizes[i]);
    Fill(answer, kBufferBytes, sum);
    if (write(socket, answer, sizeof(sum)) != sizeof(sum)) Fail("write");
    std::free(answer);
    for (uint32_t i = 0; i < request->fields; ++i) std::free(fields[i]);
    std::free(fields);
    std::free(request);
  }
}

// Has a request under way on each of its connections.
void Ask(const Connection* connections, size_t count, size_t requests, Dice& dice) {
  for (size_t n = 0; n < requests; ++n) {
    for (size_t i = 0; i < count; ++i) {
      Request request = {};
      request.fields = static_cast<uint32_t>(kMinFields + dice.Roll(kMaxFields - kMinFields + 1));
      for (uint32_t k = 0; k < request.fields; ++k) {
        request.keys[k] = static_cast<uint32_t>(dice.Roll(kTableWords));
        request.sizes[k] = static_cast<uint16_t>(dice.RollSize());
      }
      if (write(connections[i].client, &request, sizeof(request)) != sizeof(request)) Fail("write");
    }
    for (size_t i = 0; i < count; ++i) {
      uint64_t answer;
      if (read(connections[i].client, &answer, sizeof(answer)) != sizeof(answer)) Fail("read");
    }
  }
}

}  // namespace

void RunServer(const Workload& workload) {
  size_t cpus = 0;
  for (const std::vector<int>& node : workload.nodes) cpus += node.size();
  std::vector<Connection> connections(cpus * kConnectionsPerCpu);
  for (Connection& connection : connections) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) != 0) Fail("socketpair");
    connection = {ends[0], ends[1]};
  }
  auto* table = static_cast<uint64_t*>(ProgramMemory(kTableWords * sizeof(uint64_t), "shared"));
  for (size_t i = 0; i < kTableWords; ++i) table[i] = i;

  const size_t clients = connections.size() / kConnectionsPerClient;
  MeetingPoint meeting(clients);
  RunThreads(connections.size() + clients, [&](size_t i) {
    if (i < connections.size()) return Serve(connections[i].server, table);
    const size_t client = i - connections.size();
    const Connection* mine = &connections[client * kConnectionsPerClient];
    Dice dice(client);
    Ask(mine, kConnectionsPerClient, workload.Scaled(kWarmUp), dice);
    meeting.Wait();
    if (client == 0) StartCounting(workload);
    meeting.Wait();
    Ask(mine, kConnectionsPerClient, workload.Scaled(kRequests), dice);
    meeting.Wait();
    if (client == 0) StopCounting(workload.Scaled(kRequests) * connections.size());
    meeting.Wait();
    for (size_t k = 0; k < kConnectionsPerClient; ++k) close(mine[k].client);
  });
}

}  // namespace numasim
