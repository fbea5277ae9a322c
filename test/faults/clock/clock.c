/* Preloaded into redis-server: its clock is CLOCK_AHEAD milliseconds ahead of
   the machine's. libfaketime would do, but does not get along with jemalloc. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static void ahead(struct timespec *t) {
  const char *s = getenv("CLOCK_AHEAD");
  long long ns = t->tv_nsec + (s ? atoll(s) : 0) * 1000000LL;
  long long carry = ns >= 0 ? ns / 1000000000LL : -((999999999LL - ns) / 1000000000LL);
  t->tv_sec += carry;
  t->tv_nsec = ns - carry * 1000000000LL;
}

int clock_gettime(clockid_t id, struct timespec *t) {
  int r = syscall(SYS_clock_gettime, id, t);
  if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) ahead(t);
  return r;
}

int gettimeofday(struct timeval *restrict v, void *restrict zone) {
  struct timespec t;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &t);
  v->tv_sec = t.tv_sec;
  v->tv_usec = t.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (out) *out = t.tv_sec;
  return t.tv_sec;
}
