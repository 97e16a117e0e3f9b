// launch [--cpus LIST] [--seconds N] [--user UID:GID] [--report FD] PROGRAM [ARGUMENT…]: runs a
// program and writes to FD first "pid N", then, when the program and all it waited for have ended,
// a line of what they used.
//
// It exists because of ru_maxrss: a process starts with the peak of the one that forked it, and a
// Python is larger than most of what bench/run measures. This is the smallest parent there can be.
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t child;
static volatile sig_atomic_t hung;

// The program is the leader of a group: what it started goes with it.
static void KillGroup(int signal_number) {
  hung = signal_number == SIGALRM;
  kill(-child, SIGKILL);
}

static void Fail(const char* what) {
  fprintf(stderr, "launch: %s: %s\n", what, strerror(errno));
  _exit(127);
}

static double Now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double Seconds(struct timeval time) {
  return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void UseCpus(char* list) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  for (char* cpu = strtok(list, ","); cpu != NULL; cpu = strtok(NULL, ",")) {
    CPU_SET(atoi(cpu), &cpus);
  }
  if (sched_setaffinity(0, sizeof cpus, &cpus) != 0) Fail("sched_setaffinity");
}

static void BecomeUser(const char* user) {
  unsigned uid, gid;
  if (sscanf(user, "%u:%u", &uid, &gid) != 2) Fail(user);
  if (setgroups(0, NULL) != 0 || setgid(gid) != 0 || setuid(uid) != 0) Fail("setuid");
}

static void RunProgram(char** arguments, char* cpus, const char* user, int report) {
  setpgid(0, 0);
  if (cpus != NULL) UseCpus(cpus);
  if (user != NULL) BecomeUser(user);
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // after setuid, which resets it
  if (report >= 0) close(report);
  execvp(arguments[0], arguments);
  Fail(arguments[0]);
}

int main(int argc, char** argv) {
  char* cpus = NULL;
  const char* user = NULL;
  unsigned seconds = 0;
  int report = STDERR_FILENO;
  int next = 1;
  for (; next + 1 < argc && strncmp(argv[next], "--", 2) == 0; next += 2) {
    char* value = argv[next + 1];
    if (strcmp(argv[next], "--cpus") == 0) {
      cpus = value;
    } else if (strcmp(argv[next], "--seconds") == 0) {
      seconds = (unsigned)atoi(value);
    } else if (strcmp(argv[next], "--user") == 0) {
      user = value;
    } else if (strcmp(argv[next], "--report") == 0) {
      report = atoi(value);
    } else {
      break;
    }
  }
  if (next == argc || argv[next][0] == '-') {
    fprintf(stderr, "launch: no program, or no such option: %s\n", argv[argc > next ? next : 0]);
    return 2;
  }

  const double start = Now();
  child = fork();
  if (child < 0) Fail("fork");
  if (child == 0) RunProgram(argv + next, cpus, user, report == STDERR_FILENO ? -1 : report);
  setpgid(child, child);  // whoever is first
  signal(SIGALRM, KillGroup);
  signal(SIGTERM, KillGroup);
  alarm(seconds);
  dprintf(report, "pid %d\n", child);

  int status;
  struct rusage used;
  while (wait4(child, &status, 0, &used) < 0) {
    if (errno != EINTR) Fail("wait4");
  }
  const double elapsed = Now() - start;
  kill(-child, SIGKILL);  // what it left behind
  dprintf(report,
          "{\"status\": %d, \"hung\": %d, \"seconds\": %.6f, \"user_seconds\": %.6f, "
          "\"system_seconds\": %.6f, \"peak_kib\": %ld, \"minor_faults\": %ld, "
          "\"major_faults\": %ld, \"voluntary_switches\": %ld, \"involuntary_switches\": %ld}\n",
          WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), (int)hung, elapsed,
          Seconds(used.ru_utime), Seconds(used.ru_stime), used.ru_maxrss, used.ru_minflt,
          used.ru_majflt, used.ru_nvcsw, used.ru_nivcsw);
  return 0;
}
