// The plugin through its entries. It serves until its process ends, so each story is told in a
// process of its own, by a death test that must exit with 0 before the alarm.
#include "exporters/prometheus/prometheus_plugin.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <iostream>
#include <new>
#include <set>
#include <string>

#include "exporters/prometheus/listen_address.h"
#include "tests/exporters/fake_host.h"
#include "tests/exporters/loopback_http.h"
#include "tests/exporters/project_files.h"

namespace numaheap::exporters {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr unsigned kDeadline = 120;  // seconds; a story takes well below one

int Start(const std::string& listen) {
  const numaheap_exporter_host host = FakeHost::Entries();
  return numaheap_prometheus_start(listen.c_str(), &host);
}

std::string Bound() {
  return FakeHost::Get().bound.empty() ? "" : FakeHost::Get().bound.back();
}

// The number of failed expectations in `story`. The child of a death test prints none by itself;
// what goes to stderr is shown when the test fails.
int FailuresOf(void (*story)()) {
  testing::TestPartResultArray results;
  {
    const testing::ScopedFakeTestPartResultReporter reporter(
        testing::ScopedFakeTestPartResultReporter::INTERCEPT_ALL_THREADS, &results);
    story();
  }
  for (int i = 0; i < results.size(); ++i) {
    const testing::TestPartResult& result = results.GetTestPartResult(i);
    std::cerr << result.file_name() << ":" << result.line_number() << ": " << result.message()
              << "\n";
  }
  return results.size();
}

class PrometheusPluginDeathTest : public testing::Test {
 protected:
  PrometheusPluginDeathTest() {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    FakeHost::Get().SetHeaps();
  }

  // Tells the story in a process of its own, which then exits as any program does.
  static void Tell(void (*story)()) {
    EXPECT_EXIT(
        {
          alarm(kDeadline);
          exit(FailuresOf(story));
        },
        testing::ExitedWithCode(0), "");
  }
};

// A listening socket on a free port of loopback.
int ListenAnywhere() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(listen(fd, 1), 0);
  return fd;
}

// Runs `child` in a fork, as the core does it, and returns how it exited.
int ExitOfChild(int (*child)()) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(kDeadline);
    numaheap_prometheus_forget();
    exit(child());
  }
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int CountListeners() {
  int count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += ListenAddress::OfListener(fd).has_value();
  return count;
}

TEST_F(PrometheusPluginDeathTest, ServesOnePage) {
  Tell([] {
    ASSERT_EQ(Start("127.0.0.1:0"), 0);
    ASSERT_THAT(FakeHost::Get().bound, ElementsAre(testing::MatchesRegex("127.0.0.1:[1-9][0-9]*")));

    const HttpReply page = Get(Bound());
    EXPECT_EQ(page.status, 200);
    EXPECT_THAT(page.head, HasSubstr("Content-Type: text/plain; version=0.0.4"));
    EXPECT_THAT(page.head, HasSubstr("Content-Length: " + std::to_string(page.body.size())));
    EXPECT_THAT(page.body, HasSubstr("numaheap_cpus{numa_node=\"5\"} 3000000\n"));
    EXPECT_EQ(Get(Bound(), "/metrics?name=x").status, 200);

    const HttpReply head = Request(Bound(), "HEAD", "/metrics");
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.body, "");

    for (const char* path :
         {"/", "/metrics/", "/metrics.txt", "/../../etc/passwd", "/etc/passwd"}) {
      EXPECT_EQ(Get(Bound(), path).status, 404) << path;
    }
    for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS"}) {
      EXPECT_EQ(Request(Bound(), method, "/metrics").status, 405) << method;
    }
    EXPECT_THAT(FakeHost::Get().lines, IsEmpty());
  });
}

TEST_F(PrometheusPluginDeathTest, StartsOnce) {
  Tell([] {
    ASSERT_EQ(Start("127.0.0.1:0"), 0);
    EXPECT_EQ(Start("127.0.0.1:0"), 0);
    EXPECT_EQ(Start("127.0.0.1:1"), EBUSY);
    EXPECT_EQ(FakeHost::Get().bound.size(), 1u);
    EXPECT_EQ(CountListeners(), 1);
  });
}

TEST_F(PrometheusPluginDeathTest, TakenPortIsReportedOnceAndRetried) {
  Tell([] {
    const int other = ListenAnywhere();
    const std::string listen = ListenAddress::OfListener(other)->ToString();
    for (int i = 0; i < 3; ++i) EXPECT_EQ(Start(listen), EADDRINUSE);
    EXPECT_THAT(FakeHost::Get().lines,
                ElementsAre("numaheap: metrics.listen " + listen +
                            ": Address already in use; will be tried again"));
    EXPECT_THAT(FakeHost::Get().bound, IsEmpty());

    close(other);
    FakeHost::Get().lines.clear();
    EXPECT_EQ(Start(listen), 0);
    EXPECT_THAT(FakeHost::Get().lines,
                ElementsAre("numaheap: metrics.listen " + listen + ": serving now"));
    EXPECT_EQ(Bound(), listen);
    EXPECT_EQ(Get(listen).status, 200);
  });
}

TEST_F(PrometheusPluginDeathTest, OtherFailuresAreReportedAnew) {
  Tell([] {
    EXPECT_EQ(Start("nowhere"), EINVAL);
    EXPECT_EQ(Start("nowhere"), EINVAL);
    EXPECT_EQ(Start("192.0.2.1:9464"), EADDRNOTAVAIL);
    EXPECT_EQ(Start("nowhere"), EINVAL);
    EXPECT_THAT(
        FakeHost::Get().lines,
        ElementsAre("numaheap: metrics.listen nowhere: expected HOST:PORT with a numeric IPv4 host "
                    "or localhost, such as 127.0.0.1:9464",
                    HasSubstr("192.0.2.1:9464: Cannot assign requested address"),
                    HasSubstr("nowhere")));
  });
}

TEST_F(PrometheusPluginDeathTest, FailuresOfAPageEndThere) {
  Tell([] {
    ASSERT_EQ(Start("127.0.0.1:0"), 0);
    FakeHost::Get().SetInterruption([](FakeHost&) -> int { throw std::bad_alloc(); });
    EXPECT_EQ(Get(Bound()).status, 503);
    FakeHost::Get().SetInterruption([](FakeHost&) { return EINVAL; });
    const HttpReply reply = Get(Bound());
    EXPECT_EQ(reply.status, 503);
    EXPECT_EQ(reply.body, "");
    FakeHost::Get().SetInterruption(nullptr);
    EXPECT_THAT(Get(Bound()).body, HasSubstr("numaheap_scrape_failures_total 2\n"));
  });
}

TEST_F(PrometheusPluginDeathTest, SignalsStayWithTheProgram) {
  Tell([] {
    sigset_t before;
    pthread_sigmask(SIG_SETMASK, nullptr, &before);
    ASSERT_EQ(Start("127.0.0.1:0"), 0);
    sigset_t after;
    pthread_sigmask(SIG_SETMASK, nullptr, &after);
    for (int signal = 1; signal < NSIG; ++signal) {
      EXPECT_EQ(sigismember(&before, signal), sigismember(&after, signal)) << signal;
    }
    struct sigaction sigpipe;
    sigaction(SIGPIPE, nullptr, &sigpipe);
    EXPECT_EQ(sigpipe.sa_handler, SIG_DFL) << "the program's own pipes must end it as before";

    // All but SIGKILL, SIGSTOP and the two that glibc keeps for itself.
    constexpr uint64_t kBlockable = ~(uint64_t{1} << (SIGKILL - 1) | uint64_t{1} << (SIGSTOP - 1) |
                                      uint64_t{1} << 31 | uint64_t{1} << 32);
    std::multiset<std::string> names;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      const std::string name = ReadFile(task.path() / "comm");
      if (!name.starts_with("numaheap-")) continue;
      names.insert(name);
      const std::string status = ReadFile(task.path() / "status");
      const uint64_t blocked = std::stoull(status.substr(status.find("SigBlk:") + 7), nullptr, 16);
      EXPECT_EQ(blocked & kBlockable, kBlockable) << name;
    }
    EXPECT_THAT(names, ElementsAre("numaheap-listen\n", "numaheap-scrape\n", "numaheap-scrape\n"));

    // Clients that are gone before they are answered: SIGPIPE would end this process.
    for (int i = 0; i < 50; ++i) {
      const int fd = Connect(Bound());
      const linger reset{.l_onoff = 1, .l_linger = 0};
      setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
      Send(fd, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
      close(fd);
    }
    EXPECT_EQ(Get(Bound()).status, 200);
  });
}

TEST_F(PrometheusPluginDeathTest, IgnoredSigpipeStaysIgnored) {
  Tell([] {
    signal(SIGPIPE, SIG_IGN);
    ASSERT_EQ(Start("127.0.0.1:0"), 0);
    struct sigaction sigpipe;
    sigaction(SIGPIPE, nullptr, &sigpipe);
    EXPECT_EQ(sigpipe.sa_handler, SIG_IGN);
  });
}

TEST_F(PrometheusPluginDeathTest, ChildServesNothingAndTheParentGoesOn) {
  Tell([] {
    ASSERT_EQ(Start("127.0.0.1:0"), 0);
    EXPECT_EQ(CountListeners(), 1);
    EXPECT_EQ(ExitOfChild([] { return CountListeners(); }), 0);
    EXPECT_EQ(ExitOfChild([] { return Start("127.0.0.1:0") == ECANCELED ? 0 : 1; }), 0);
    EXPECT_EQ(ExitOfChild([] {
                numaheap_prometheus_forget();  // a grandchild's core does it once more
                return 0;
              }),
              0);
    EXPECT_EQ(Get(Bound()).status, 200);
  });
}

TEST_F(PrometheusPluginDeathTest, ChildLeavesOtherFilesWithTheSameNumberAlone) {
  Tell([] {
    ASSERT_EQ(Start("127.0.0.1:0"), 0);
    const pid_t pid = fork();
    if (pid == 0) {
      for (int fd = 3; fd < 1024; ++fd) {  // as daemons do, before they open their own
        if (ListenAddress::OfListener(fd)) dup2(STDERR_FILENO, fd);
      }
      int open_before = 0;
      int open_after = 0;
      for (int fd = 0; fd < 1024; ++fd) open_before += fcntl(fd, F_GETFD) != -1;
      numaheap_prometheus_forget();
      for (int fd = 0; fd < 1024; ++fd) open_after += fcntl(fd, F_GETFD) != -1;
      _exit(open_before == open_after ? 0 : 1);
    }
    int status = -1;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
  });
}

// The server ends while its child lives on: the port must be free for the next one.
TEST_F(PrometheusPluginDeathTest, LivingChildDoesNotHoldThePort) {
  Tell([] {
    int addresses[2];  // the child tells the address it forgot, and keeps this open while it lives
    int release[2];    // the child lives until this is closed
    ASSERT_EQ(pipe(addresses), 0);
    ASSERT_EQ(pipe(release), 0);
    const pid_t server = fork();
    if (server == 0) {
      close(release[1]);
      if (Start("127.0.0.1:0") != 0) _exit(1);
      if (fork() == 0) {
        numaheap_prometheus_forget();
        const std::string address = Bound();
        if (write(addresses[1], address.data(), address.size()) < 0) _exit(1);
        char byte;
        _exit(static_cast<int>(read(release[0], &byte, 1)));
      }
      _exit(0);
    }
    close(addresses[1]);
    int status = -1;
    ASSERT_EQ(waitpid(server, &status, 0), server);
    ASSERT_EQ(status, 0);
    char address[64] = "";
    ASSERT_GT(read(addresses[0], address, sizeof(address) - 1), 0);
    EXPECT_EQ(ListenAddress::Parse(address)->Probe(), 0) << address;

    close(release[1]);
    char byte;
    EXPECT_EQ(read(addresses[0], &byte, 1), 0) << "the child has ended";
  });
}

// A child must not inherit a socket of a server that is half started. Handlers before a fork run
// in the reverse order of their registration, so this one runs while the plugin's guard is held.
TEST_F(PrometheusPluginDeathTest, DoesNotStartWhileTheProcessForks) {
  Tell([] {
    static int during_fork = -1;
    pthread_atfork([] { during_fork = Start("127.0.0.1:0"); }, nullptr, nullptr);
    EXPECT_EQ(Start("nowhere"), EINVAL);  // registers the guard
    EXPECT_EQ(ExitOfChild([] { return CountListeners(); }), 0);
    EXPECT_EQ(during_fork, EAGAIN);
    EXPECT_EQ(Start("127.0.0.1:0"), 0);
    EXPECT_EQ(Get(Bound()).status, 200);
  });
}

}  // namespace
}  // namespace numaheap::exporters
