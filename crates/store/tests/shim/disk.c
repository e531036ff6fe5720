/* A disk between a process and its file system, for LD_PRELOAD.
 *
 * Only files below the directory NOCTULE_DISK are looked at.
 *
 * Trace. If NOCTULE_DISK_TRACE names a file, every change and every sync is written to
 * it in order, so that the disk can be put together as it was at any moment, with
 * nothing but what had been synced by then (or with some of the rest):
 *
 *     u8 what, u16 length of the name, u64 offset, u32 length of the data, name, data
 *
 *     'W' write   'T' truncate to offset   'S' sync of a file   'D' sync of a directory
 *     'C' create  'R' rename (data: the new name)  'U' unlink   'A' note from the test
 *
 * Faults. Writing a line to a path that ends with "disk.control" sets what is to fail:
 *
 *     write 28 3 1     the 3rd write from now on fails with errno 28, once
 *     sync 5 1 0       every sync from now on fails with errno 5
 *     room 600000      no file may grow once all of them have so many bytes together
 *     ok               nothing fails; the counts begin anew
 *
 * "write" is also fallocate, and truncate but for errno 28. Writing to "disk.note" traces a note.
 *
 * A process that knows nothing of this may be given a disk of NOCTULE_DISK_ROOM bytes (what
 * others put on it counts too), or with NOCTULE_DISK_READ_ONLY one that nothing can be changed on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define MAX_FILES 4096
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Paths below the directory, by descriptor; NULL for everything else. */
static char *paths[MAX_FILES];
static int trace_file = -1;

struct fault { int error; long first, times, seen; };
static struct fault on_write, on_sync;
static long room;
static long used;

static const char *root(void) {
    static const char *value;
    if (!value) value = getenv("NOCTULE_DISK");
    return value ? value : "";
}

static int below(const char *path) {
    size_t length = strlen(root());
    return length && !strncmp(path, root(), length) && path[length] == '/';
}

static const char *name_of(int fd) {
    return fd >= 0 && fd < MAX_FILES ? paths[fd] : NULL;
}

static int is_shared_memory(const char *path) {
    size_t length = strlen(path);
    return length > 4 && !strcmp(path + length - 4, "-shm");
}

static void put(const void *data, size_t length) {
    const char *at = data;
    while (length) {
        ssize_t n = REAL(write)(trace_file, at, length);
        if (n <= 0) _exit(99);
        at += n;
        length -= (size_t)n;
    }
}

/* Called with the lock held. */
static void trace(char what, const char *path, uint64_t offset, const void *data, size_t length) {
    static int opened;
    if (!opened) {
        opened = 1;
        const char *to = getenv("NOCTULE_DISK_TRACE");
        if (to) trace_file = REAL(open)(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    if (trace_file < 0 || is_shared_memory(path)) return;
    const char *name = path + strlen(root());
    uint16_t name_length = (uint16_t)strlen(name);
    uint32_t data_length = (uint32_t)length;
    unsigned char head[15];
    head[0] = (unsigned char)what;
    memcpy(head + 1, &name_length, 2);
    memcpy(head + 3, &offset, 8);
    memcpy(head + 11, &data_length, 4);
    put(head, sizeof head);
    put(name, name_length);
    put(data, length);
}

/* Whether this call is to fail; errno is set then. Called with the lock held. */
static int fails(struct fault *fault) {
    if (!fault->error) return 0;
    long seen = ++fault->seen;
    if (seen < fault->first) return 0;
    if (fault->times && seen >= fault->first + fault->times) return 0;
    errno = fault->error;
    return 1;
}

static void control(const char *line) {
    struct fault fault = {0, 0, 0, 0};
    char what[16] = "";
    sscanf(line, "%15s %d %ld %ld", what, &fault.error, &fault.first, &fault.times);
    if (!strcmp(what, "write")) on_write = fault;
    if (!strcmp(what, "sync")) on_sync = fault;
    if (!strcmp(what, "ok")) {
        on_write = on_sync = fault;
        room = 0;
    }
    if (!strcmp(what, "room")) sscanf(line, "%*s %ld", &room);
}

static int add_size(const char *path, const struct stat *about, int type, struct FTW *at) {
    (void)at;
    if (type == FTW_F && !is_shared_memory(path)) used += (long)about->st_size;
    return 0;
}

/* Whether a write has no room; errno is set then. Called with the lock held. */
static int overflows(int fd, off_t offset, size_t length) {
    struct stat about;
    if (!room || fstat(fd, &about) || offset + (off_t)length <= about.st_size) return 0;
    used = 0;
    nftw(root(), add_size, 16, FTW_PHYS);
    if (used + offset + (long)length - about.st_size <= room) return 0;
    errno = ENOSPC;
    return 1;
}

/* What was asked for in the environment. */
__attribute__((constructor)) static void start(void) {
    const char *bytes = getenv("NOCTULE_DISK_ROOM");
    if (bytes) room = atol(bytes);
}

/* Whether a change of this path is refused; errno is set then. */
static int is_read_only(const char *path) {
    if (!getenv("NOCTULE_DISK_READ_ONLY") || !below(path)) return 0;
    errno = EROFS;
    return 1;
}

static int ends_with(const char *path, const char *end) {
    size_t a = strlen(path), b = strlen(end);
    return a >= b && !strcmp(path + a - b, end);
}

static int opened(const char *path, int flags, int fd, int existed) {
    if (fd < 0 || fd >= MAX_FILES || !below(path)) return fd;
    pthread_mutex_lock(&lock);
    free(paths[fd]);
    paths[fd] = strdup(path);
    if (!existed && (flags & O_CREAT)) trace('C', path, 0, "", 0);
    if (existed && (flags & O_TRUNC)) trace('T', path, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(name)                                                           \
    int name(const char *path, int flags, ...) {                             \
        va_list rest;                                                        \
        va_start(rest, flags);                                               \
        mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;          \
        va_end(rest);                                                        \
        int changes = flags & (O_WRONLY | O_RDWR | O_CREAT);                 \
        if (changes && is_read_only(path)) return -1;                        \
        int existed = below(path) && !access(path, F_OK);                    \
        return opened(path, flags, REAL(name)(path, flags, mode), existed);  \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    pthread_mutex_lock(&lock);
    if (fd >= 0 && fd < MAX_FILES) {
        free(paths[fd]);
        paths[fd] = NULL;
    }
    pthread_mutex_unlock(&lock);
    return REAL(close)(fd);
}

static ssize_t written(int fd, const void *data, size_t length, off_t offset) {
    const char *path = name_of(fd);
    pthread_mutex_lock(&lock);
    if (ends_with(path, "disk.control") || ends_with(path, "disk.note")) {
        char line[64] = "";
        memcpy(line, data, length < 63 ? length : 63);
        if (ends_with(path, "disk.control")) control(line);
        else trace('A', path, 0, data, length);
        pthread_mutex_unlock(&lock);
        return (ssize_t)length;
    }
    ssize_t n = -1;
    if (is_shared_memory(path) || (!fails(&on_write) && !overflows(fd, offset, length))) {
        n = REAL(pwrite)(fd, data, length, offset);
        if (n > 0) trace('W', path, (uint64_t)offset, data, (size_t)n);
    }
    pthread_mutex_unlock(&lock);
    return n;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    if (!name_of(fd)) return REAL(pwrite)(fd, data, length, offset);
    return written(fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    if (!name_of(fd)) return REAL(pwrite64)(fd, data, length, offset);
    return written(fd, data, length, offset);
}

ssize_t write(int fd, const void *data, size_t length) {
    if (!name_of(fd)) return REAL(write)(fd, data, length);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t n = written(fd, data, length, at);
    if (n > 0) lseek(fd, at + n, SEEK_SET);
    return n;
}

#define TRUNCATE(name, type)                                                 \
    int name(int fd, type length) {                                          \
        const char *path = name_of(fd);                                      \
        if (!path || is_shared_memory(path)) return REAL(name)(fd, length);  \
        pthread_mutex_lock(&lock);                                           \
        int result = -1;                                                     \
        /* Truncating is never out of room. */                               \
        if (on_write.error == ENOSPC || !fails(&on_write)) {                 \
            result = REAL(name)(fd, length);                                 \
            if (!result) trace('T', path, (uint64_t)length, "", 0);          \
        }                                                                    \
        pthread_mutex_unlock(&lock);                                         \
        return result;                                                       \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define ALLOCATE(name, type)                                                 \
    int name(int fd, int mode, type offset, type length) {                   \
        const char *path = name_of(fd);                                      \
        if (!path) return REAL(name)(fd, mode, offset, length);              \
        pthread_mutex_lock(&lock);                                           \
        int result = -1;                                                     \
        if (!fails(&on_write) && !overflows(fd, offset, length)) {           \
            result = REAL(name)(fd, mode, offset, length);                   \
            if (!result) trace('T', path, (uint64_t)(offset + length), "", 0); \
        }                                                                    \
        pthread_mutex_unlock(&lock);                                         \
        return result;                                                       \
    }
ALLOCATE(fallocate, off_t)
ALLOCATE(fallocate64, off64_t)

static int synced(int fd, int (*real)(int)) {
    const char *path = name_of(fd);
    if (!path) return real(fd);
    pthread_mutex_lock(&lock);
    int result = -1;
    if (!fails(&on_sync)) {
        struct stat about;
        /* Not synced on the real disk: the trace is the disk, and it is faster. */
        result = 0;
        int directory = !fstat(fd, &about) && S_ISDIR(about.st_mode);
        trace(directory ? 'D' : 'S', path, 0, "", 0);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

int chmod(const char *path, mode_t mode) {
    return is_read_only(path) ? -1 : REAL(chmod)(path, mode);
}

int mkdir(const char *path, mode_t mode) {
    return is_read_only(path) ? -1 : REAL(mkdir)(path, mode);
}

int rename(const char *from, const char *to) {
    if (is_read_only(to)) return -1;
    int result = REAL(rename)(from, to);
    if (!result && below(to)) {
        pthread_mutex_lock(&lock);
        const char *name = to + strlen(root());
        trace('R', from, 0, name, strlen(name));
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int unlink(const char *path) {
    if (is_read_only(path)) return -1;
    int result = REAL(unlink)(path);
    if (!result && below(path)) {
        pthread_mutex_lock(&lock);
        trace('U', path, 0, "", 0);
        pthread_mutex_unlock(&lock);
    }
    return result;
}
