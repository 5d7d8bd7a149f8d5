/* Preloaded into one ollmcp process by the tests in this folder: counts fsync and fdatasync of files and folders whose
 * path goes through a folder named `journal`, over all threads, and kills the process with SIGKILL at the one with the
 * number in KILL_AT_SYNC: before it with KILL_BEFORE_SYNC=1, else right after it. Children are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long kill_at;
static int kills_before;
static atomic_long seen;

__attribute__((constructor)) static void start(void) {
    const char *number = getenv("KILL_AT_SYNC");
    const char *before = getenv("KILL_BEFORE_SYNC");
    kill_at = number ? atol(number) : 0;
    kills_before = before != NULL && before[0] == '1';
    unsetenv("LD_PRELOAD");
    unsetenv("KILL_AT_SYNC");
    unsetenv("KILL_BEFORE_SYNC");
}

static int is_journal(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 2);
    if (length <= 0) return 0;
    path[length] = '/';
    path[length + 1] = 0;
    return strstr(path, "/journal/") != NULL;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int counted(const char *name, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (!is_journal(file)) return real(file);
    long number = atomic_fetch_add(&seen, 1) + 1;
    if (kills_before && number == kill_at) die();
    int result = real(file);
    if (!kills_before && number == kill_at) die();
    return result;
}

int fsync(int file) { return counted("fsync", file); }
int fdatasync(int file) { return counted("fdatasync", file); }
