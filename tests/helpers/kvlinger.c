// SPDX-License-Identifier: BSD-2-Clause
/*
 * One who does not let go: kvlinger CACHE. Attaches to it as its writer, keeps
 * the descriptor and a mapping of its rows, detaches, and says "lingering". At
 * the next line of its input it writes over all of that, the words included,
 * says "scribbled", and again for each further line; ends with its input.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/conn.h"
#include "client/name.h"
#include "tests/helpers/selfcheck.h"

static int refused(const char *what)
{
	fprintf(stderr, "kvlinger: %s: %s\n", what, treekv_error());
	return 3;
}

/* Return: the rows' descriptor; all others are closed, and the lease ended. */
static int take_rows(struct treekv *kv, const char *name)
{
	Treekv__Request request = TREEKV__REQUEST__INIT;
	Treekv__Attach attach = TREEKV__ATTACH__INIT;
	Treekv__Detach detach = TREEKV__DETACH__INIT;
	char full[SHM_NAME_FULL + 1];
	int fds[FRAME_FDS_MAX];
	Treekv__Reply *reply;
	unsigned int n;

	if (name_resolve(full, name))
		exit(refused("name"));
	attach.name = full;
	attach.has_nonce = 1;
	attach.nonce = 1;
	request.body_case = TREEKV__REQUEST__BODY_ATTACH;
	request.attach = &attach;
	if (conn_call(kv, &request, &reply, fds, &n))
		exit(refused("attach"));
	for (unsigned int i = 1; i < n; i++)
		close(fds[i]);
	detach.lease = reply->attached->lease;
	treekv__reply__free_unpacked(reply, NULL);
	request.body_case = TREEKV__REQUEST__BODY_DETACH;
	request.detach = &detach;
	if (conn_call(kv, &request, &reply, NULL, NULL))
		exit(refused("detach"));
	treekv__reply__free_unpacked(reply, NULL);
	return fds[0];
}

static void say(const char *what)
{
	puts(what);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct treekv *kv;
	struct stat st;
	char line[16];
	uint64_t x = 1;
	char *rows;
	int fd;

	if (argc != 2)
		return 2;
	if (treekv_connect(&kv, NULL))
		return refused("connect");
	fd = take_rows(kv, argv[1]);
	if (fstat(fd, &st)) {
		perror("fstat");
		return 2;
	}
	rows = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE,
		    MAP_SHARED, fd, 0);
	if (rows == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	say("lingering");
	while (fgets(line, sizeof(line), stdin)) {
		for (off_t i = 0; i < st.st_size; i++)
			rows[i] = (char)selfcheck_mix(x++);
		say("scribbled");
	}
	treekv_close(kv);
	return 0;
}
