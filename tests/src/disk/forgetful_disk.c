/* A disk that forgets what was not synced, as far as a program sees that is started with this library preloaded.
 *
 * kill -9 leaves the kernel's page cache as it is, so it cannot show that anything rests on fsync. This library keeps,
 * beside the directory DISK_LIVE, an image of what a loss of power would leave of it:
 *
 *     DISK_IMAGE/inodes/N   the octets of the file that is inode N of the live directory, as of its last fsync
 *     DISK_IMAGE/names/...  hard links to them: the names, as of the last fsync of each directory
 *     DISK_IMAGE/lost/N     inode N has had an fsync that failed
 *
 * So a new file needs an fsync of its own and one of its directory, which POSIX asks for, though many file systems give
 * more. A memory map is never synced. An fsync takes what was written by whoever it was, a process that was killed
 * included. One that fails loses what was to be synced, as Linux does: a second one, which succeeds, says nothing of it,
 * in whatever process. After that, each process syncs of the file what it has written itself.
 *
 * DISK_FAULTS is a file of `struct faults`, read at every call: what calls on the live directory are to fail with.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Each an errno, or 0 for success. Also in disk.rs. */
struct faults {
    int32_t write;   /* of octets, and of a file's size */
    int32_t sync;
    int32_t name;    /* opening a file to write, and unlinking one */
    int32_t read;
    int32_t swallow; /* not 0: an fsync succeeds and does nothing */
    char only[44];   /* the end of the paths that faults are about */
};

/* Octets that the image lacks. */
struct range {
    off_t begin, end;
    struct range *next;
};

struct file {
    ino_t inode;
    struct range *unsynced;
    struct file *next;
};

#define REAL(name) ((__typeof__(&name))real(#name))

static char live[PATH_MAX], image[PATH_MAX];
static volatile const struct faults *faults;
static struct file *files;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void die(const char *what) {
    perror(what);
    abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DISK_FAULTS");
    if (!path || !getenv("DISK_IMAGE") || !realpath(getenv("DISK_LIVE"), live)) die("forgetful disk: DISK_LIVE");
    snprintf(image, sizeof image, "%s", getenv("DISK_IMAGE"));
    int fd = REAL(open)(path, O_RDONLY | O_CLOEXEC);
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *faults, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) die("forgetful disk: DISK_FAULTS");
    faults = map;
    REAL(close)(fd);
}

/* The part of a path below the live directory ("" for itself), NULL when it is elsewhere. */
static const char *below(const char *path) {
    size_t length = strlen(live);
    if (!faults || strncmp(path, live, length) != 0) return NULL;
    return path[length] == '/' || path[length] == '\0' ? path + length : NULL;
}

/* What a descriptor refers to, if that is on this disk. */
static const char *on_disk(int fd, char path[PATH_MAX]) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return NULL;
    path[length] = '\0';
    return below(path);
}

/* Sets errno and answers whether a call is to fail. */
static int fails(int32_t fault, const char *path) {
    const char *only = (const char *)faults->only;
    size_t end = strlen(only), length = strlen(path);
    if (fault == 0 || length < end || strcmp(path + length - end, only) != 0) return 0;
    errno = fault;
    return 1;
}

static int fd_fails(int fd, const volatile int32_t *fault) {
    char path[PATH_MAX];
    return faults && *fault && on_disk(fd, path) && fails(*fault, path);
}

/* The mark of a file whose octets were lost by an fsync that failed. */
static void lost(ino_t inode, char path[PATH_MAX + 32]) {
    snprintf(path, PATH_MAX + 32, "%s/lost/%ju", image, (uintmax_t)inode);
}

/* Keeps in mind, for later processes too, that a file has lost octets. */
static void lose(ino_t inode) {
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/lost", image);
    if (mkdir(path, 0700) != 0 && errno != EEXIST) die(path);
    lost(inode, path);
    int fd = REAL(open)(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) die(path);
    REAL(close)(fd);
}

/* Adds octets that the image lacks. */
static void add(struct file *file, off_t begin, off_t end) {
    struct range *range = malloc(sizeof *range);
    if (!range) die("forgetful disk");
    *range = (struct range){begin, end, file->unsynced};
    file->unsynced = range;
}

/* What is known of a file. At first all of it counts as unsynced: a process that was killed may have written it. */
static struct file *file(const struct stat *status) {
    for (struct file *known = files; known; known = known->next)
        if (known->inode == status->st_ino) return known;
    struct file *new = calloc(1, sizeof *new);
    if (!new) die("forgetful disk");
    *new = (struct file){.inode = status->st_ino, .next = files};
    char mark[PATH_MAX + 32];
    lost(new->inode, mark);
    if (access(mark, F_OK) != 0) add(new, 0, status->st_size);
    return files = new;
}

static void drop(struct file *file) {
    while (file->unsynced) {
        struct range *range = file->unsynced;
        file->unsynced = range->next;
        free(range);
    }
}

/* Keeps in mind that these octets were written. */
static void written(int fd, off_t begin, off_t end) {
    char path[PATH_MAX];
    struct stat status;
    int error = errno;
    if (begin < end && on_disk(fd, path) && fstat(fd, &status) == 0) {
        pthread_mutex_lock(&lock);
        struct file *known = file(&status);
        struct range *last = known->unsynced;
        if (last && begin <= last->end && end >= last->begin) {
            if (begin < last->begin) last->begin = begin;
            if (end > last->end) last->end = end;
        } else {
            add(known, begin, end);
        }
        pthread_mutex_unlock(&lock);
    }
    errno = error;
}

static int open_inode(ino_t inode) {
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/inodes/%ju", image, (uintmax_t)inode);
    int fd = REAL(open)(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) die(path);
    return fd;
}

static void copy(int from, int to, const struct range *range) {
    char octets[1 << 16];
    for (off_t at = range->begin; at < range->end;) {
        size_t wanted = range->end - at < (off_t)sizeof octets ? (size_t)(range->end - at) : sizeof octets;
        ssize_t count = REAL(pread64)(from, octets, wanted, at);
        if (count < 0) die("forgetful disk: read");
        if (count == 0) return; /* Cut off since. */
        if (REAL(pwrite64)(to, octets, count, at) != count) die("forgetful disk: write");
        at += count;
    }
}

/* Brings a file's octets into the image. */
static void sync_file(int fd, const struct stat *status) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int from = REAL(open)(link, O_RDONLY | O_CLOEXEC), to = open_inode(status->st_ino);
    if (from < 0) die(link);
    struct file *known = file(status);
    for (struct range *range = known->unsynced; range; range = range->next) copy(from, to, range);
    if (REAL(ftruncate64)(to, status->st_size) != 0) die("forgetful disk: truncate");
    drop(known);
    REAL(close)(from);
    REAL(close)(to);
}

/* Gives a file of the image this name, whatever had it before. */
static void name(ino_t inode, const char *path) {
    char target[PATH_MAX + 32], temporary[PATH_MAX + 32];
    REAL(close)(open_inode(inode));
    snprintf(target, sizeof target, "%s/inodes/%ju", image, (uintmax_t)inode);
    snprintf(temporary, sizeof temporary, "%s/temporary", image);
    /* Left by a kill, or by a rename of a file to itself, which does nothing. */
    REAL(unlink)(temporary);
    if (link(target, temporary) != 0 || REAL(rename)(temporary, path) != 0) die(path);
}

static void remove_missing_names(const char *directory, const char *names) {
    DIR *listing = opendir(names);
    if (!listing) die(names);
    for (struct dirent *entry; (entry = readdir(listing));) {
        char path[2 * PATH_MAX], named[2 * PATH_MAX];
        struct stat status;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        snprintf(named, sizeof named, "%s/%s", names, entry->d_name);
        if (lstat(path, &status) != 0 && REAL(unlink)(named) != 0) die(named);
    }
    closedir(listing);
}

/* Brings a directory's names into the image. */
static void sync_directory(const char *directory, const char *below_live) {
    char names[2 * PATH_MAX];
    snprintf(names, sizeof names, "%s/names%s", image, below_live);
    /* A directory whose own name is not synced is lost, and all that is in it. */
    if (access(names, F_OK) != 0) return;
    DIR *listing = opendir(directory);
    if (!listing) die(directory);
    for (struct dirent *entry; (entry = readdir(listing));) {
        char path[3 * PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", names, entry->d_name);
        if (entry->d_type == DT_REG) name(entry->d_ino, path);
        else if (entry->d_type == DT_DIR && mkdir(path, 0700) != 0 && errno != EEXIST) die(path);
    }
    closedir(listing);
    remove_missing_names(directory, names);
}

static int sync_with(int (*sync)(int), int fd) {
    char path[PATH_MAX];
    struct stat status;
    const char *below_live = on_disk(fd, path);
    if (!below_live || fstat(fd, &status) != 0) return sync(fd);
    if (faults->swallow) return 0;
    if (fails(faults->sync, path)) {
        pthread_mutex_lock(&lock);
        drop(file(&status));
        lose(status.st_ino);
        pthread_mutex_unlock(&lock);
        errno = faults->sync;
        return -1;
    }
    /* For the time that it takes. */
    if (sync(fd) != 0) return -1;
    pthread_mutex_lock(&lock);
    if (S_ISDIR(status.st_mode)) sync_directory(path, below_live);
    else if (status.st_nlink > 0 && fstat(fd, &status) == 0) sync_file(fd, &status);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd) { return sync_with(REAL(fsync), fd); }

int fdatasync(int fd) { return sync_with(REAL(fdatasync), fd); }

ssize_t write(int fd, const void *octets, size_t count) {
    if (fd_fails(fd, &faults->write)) return -1;
    ssize_t done = REAL(write)(fd, octets, count);
    if (done > 0) {
        off_t end = lseek(fd, 0, SEEK_CUR);
        if (end >= done) written(fd, end - done, end);
    }
    return done;
}

ssize_t pwrite64(int fd, const void *octets, size_t count, off64_t offset) {
    if (fd_fails(fd, &faults->write)) return -1;
    ssize_t done = REAL(pwrite64)(fd, octets, count, offset);
    if (done > 0) written(fd, offset, offset + done);
    return done;
}

int ftruncate64(int fd, off64_t length) {
    if (fd_fails(fd, &faults->write)) return -1;
    struct stat before;
    int known = fstat(fd, &before);
    int result = REAL(ftruncate64)(fd, length);
    /* What was cut off may be written or read as zeros again. */
    if (result == 0 && known == 0) written(fd, length < before.st_size ? length : before.st_size, before.st_size);
    return result;
}

ssize_t read(int fd, void *octets, size_t count) {
    return fd_fails(fd, &faults->read) ? -1 : REAL(read)(fd, octets, count);
}

ssize_t pread64(int fd, void *octets, size_t count, off64_t offset) {
    return fd_fails(fd, &faults->read) ? -1 : REAL(pread64)(fd, octets, count, offset);
}

int open(const char *path, int flags, ...) {
    mode_t mode = 0;
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
    if (writes && below(path) && fails(faults->name, path)) return -1;
    return REAL(open)(path, flags, mode);
}

/* Large files are the only kind, where off_t has 64 bits. */
_Static_assert(sizeof(off_t) == 8, "build for 64 bits");
int open64(const char *path, int flags, ...) __attribute__((alias("open")));

int unlink(const char *path) {
    if (!below(path)) return REAL(unlink)(path);
    if (fails(faults->name, path)) return -1;
    pthread_mutex_lock(&lock);
    struct stat status;
    int known = lstat(path, &status);
    int result = REAL(unlink)(path);
    if (known == 0 && result == 0 && status.st_nlink == 1) {
        /* A new file may get this number. The image keeps the old one under the names that are synced. */
        char inode[PATH_MAX + 32];
        snprintf(inode, sizeof inode, "%s/inodes/%ju", image, (uintmax_t)status.st_ino);
        REAL(unlink)(inode);
        lost(status.st_ino, inode);
        REAL(unlink)(inode);
        drop(file(&status));
    }
    pthread_mutex_unlock(&lock);
    return result;
}
