/* Preloaded into one ollmcp process by a test in this folder: notes every address of the internet that the process
 * connects or sends to, one `ADDRESS:PORT` a line, in the file that CONNECTIONS names. Children are left alone. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int log_file = -1;

__attribute__((constructor)) static void start(void) {
    const char *name = getenv("CONNECTIONS");
    if (name != NULL) log_file = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    unsetenv("LD_PRELOAD");
    unsetenv("CONNECTIONS");
}

static void note(const struct sockaddr *to) {
    char address[INET6_ADDRSTRLEN] = "", line[128];
    int port = 0;
    if (to == NULL || log_file < 0) return;
    if (to->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)to;
        inet_ntop(AF_INET, &four->sin_addr, address, sizeof address);
        port = ntohs(four->sin_port);
    } else if (to->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)to;
        inet_ntop(AF_INET6, &six->sin6_addr, address, sizeof address);
        port = ntohs(six->sin6_port);
    } else {
        return;
    }
    int length = snprintf(line, sizeof line, "%s:%d\n", address, port);
    if (write(log_file, line, (size_t)length) < 0) abort();
}

int connect(int socket, const struct sockaddr *to, socklen_t length) {
    int (*real)(int, const struct sockaddr *, socklen_t) =
        (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
    note(to);
    return real(socket, to, length);
}

ssize_t sendto(int socket, const void *bytes, size_t count, int flags, const struct sockaddr *to, socklen_t length) {
    ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t) =
        (ssize_t(*)(int, const void *, size_t, int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "sendto");
    note(to);
    return real(socket, bytes, count, flags, to, length);
}
