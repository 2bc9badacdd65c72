// SPDX-License-Identifier: BSD-2-Clause
/*
 * Plays inputs to a fuzz target where libFuzzer is not at hand: first each file
 * that is given, or in a folder that is given, as it is; then as many variants
 * of them as are asked for, by a generator that always begins the same. What
 * makes it end badly is left in the working folder as crash-TARGET.
 *
 * Usage: TARGET VARIANTS PATH...
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX   4096
#define VARIANT_MAX (64 << 10) /* bytes */
#define HANGS_S	    30 /* what takes longer than that ends badly */

int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
void __sanitizer_set_death_callback(void (*callback)(void))
	__attribute__((weak));

struct seed {
	uint8_t *bytes;
	size_t size;
};

static struct seed seeds[FILES_MAX];
static size_t n_seeds;
static struct seed now;
static char crash[256];
static uint64_t state = 1;

static void leave(void)
{
	int fd = open(crash, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd >= 0 && write(fd, now.bytes, now.size) == (ssize_t)now.size)
		dprintf(STDERR_FILENO, "the input is %s\n", crash);
}

static void on_signal(int number)
{
	signal(number, SIG_DFL);
	leave();
	raise(number);
}

static uint64_t draw(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return below ? state % below : 0;
}

/* A copy without a byte to spare, so that sanitizers see the end. */
static void play(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	if (size)
		memcpy(copy, bytes, size);
	now = (struct seed){ copy, size };
	alarm(HANGS_S);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static void change(uint8_t *bytes, size_t *size)
{
	const struct seed *other = &seeds[draw(n_seeds)];
	size_t at = draw(*size + 1), n = draw(16) + 1;

	if (draw(8) == 0 && other->size) { /* a piece of another one */
		n = draw(other->size) + 1;
		n = n < VARIANT_MAX - at ? n : VARIANT_MAX - at;
		memcpy(bytes + at, other->bytes, n);
		*size = at + n > *size ? at + n : *size;
	} else if (draw(4) == 0) { /* less of it */
		n = n < *size - at ? n : *size - at;
		memmove(bytes + at, bytes + at + n, *size - at - n);
		*size -= n;
	} else if (draw(4) == 0 && *size + n <= VARIANT_MAX) { /* more */
		memmove(bytes + at + n, bytes + at, *size - at);
		for (size_t i = 0; i < n; i++)
			bytes[at + i] = (uint8_t)draw(256);
		*size += n;
	} else if (at < *size) {
		static const uint8_t odd[] = { 0, 1, 0x7f, 0x80, 0xff };

		bytes[at] = (uint8_t)(draw(2) ? draw(256) : odd[draw(5)]);
	}
}

static void play_variant(void)
{
	static uint8_t bytes[VARIANT_MAX];
	const struct seed *seed = &seeds[draw(n_seeds)];
	size_t size = seed->size < VARIANT_MAX ? seed->size : VARIANT_MAX;

	memcpy(bytes, seed->bytes, size);
	for (uint64_t n = draw(8) + 1; n; n--)
		change(bytes, &size);
	play(bytes, size);
}

static void take_file(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *bytes = NULL;

	if (fd < 0 || fstat(fd, &st) || n_seeds == FILES_MAX) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(2);
	}
	bytes = malloc((size_t)st.st_size + 1);
	if (!bytes || read(fd, bytes, (size_t)st.st_size) != st.st_size)
		abort();
	close(fd);
	seeds[n_seeds++] = (struct seed){ bytes, (size_t)st.st_size };
}

static int not_hidden(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void take(const char *path)
{
	struct dirent **entries;
	char inside[4096];
	int n = scandir(path, &entries, not_hidden, alphasort);

	if (n < 0) {
		take_file(path);
		return;
	}
	for (int i = 0; i < n; i++) {
		snprintf(inside, sizeof(inside), "%s/%s", path,
			 entries[i]->d_name);
		take_file(inside);
		free(entries[i]);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	unsigned long variants = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;

	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	snprintf(crash, sizeof(crash), "crash-%s", slash ? slash + 1 : argv[0]);
	for (int i = 2; i < argc; i++)
		take(argv[i]);
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(leave);
	else
		signal(SIGSEGV, on_signal);
	signal(SIGABRT, on_signal);
	signal(SIGALRM, on_signal);
	for (size_t i = 0; i < n_seeds; i++)
		play(seeds[i].bytes, seeds[i].size);
	for (unsigned long i = 0; n_seeds && i < variants; i++)
		play_variant();
	printf("%zu inputs, %lu variants\n", n_seeds, n_seeds ? variants : 0);
	for (size_t i = 0; i < n_seeds; i++)
		free(seeds[i].bytes);
	return 0;
}
