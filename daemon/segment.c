// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/segment.h"
#include "proto/layout.h"

#define SEALS_SIZE (F_SEAL_SHRINK | F_SEAL_GROW)
#define UNMAP_STEP (UINT64_C(16) << 20) /* of huge pages as well */

int segment_map(void **ret, int fd, uint64_t size)
{
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		return -errno;
	madvise(map, size, MADV_DONTDUMP);
	*ret = map;
	return 0;
}

static int make(struct segment *ret, const struct segment_request *request,
		bool huge)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	uint64_t size = layout_round(request->bytes, huge);
	void *map;
	int fd, r = 0;

	if (huge)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	fd = memfd_create(request->label, flags);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0600) || ftruncate(fd, size) ||
	    fcntl(fd, F_ADD_SEALS, SEALS_SIZE | request->seals))
		r = -errno;
	else
		r = segment_map(&map, fd, size);
	if (r) {
		close(fd);
		return r;
	}
	*ret = (struct segment){
		.fd = fd,
		.map = map,
		.size = size,
		.huge = huge,
	};
	return 0;
}

int segment_new(struct segment *ret, const struct segment_request *request)
{
	int r = -ENOMEM;

	if (request->mode != HUGE_PAGES_NEVER)
		r = make(ret, request, true);
	if (r && request->mode != HUGE_PAGES_REQUIRE && r != -EMFILE &&
	    r != -ENFILE)
		r = make(ret, request, false);
	return r;
}

int segment_reopen(int fd)
{
	char path[64];
	int ro;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	return ro < 0 ? -errno : ro;
}

int segment_map_read_only(const void **ret, int fd, uint64_t size)
{
	void *map;
	int ro, r = 0;

	ro = segment_reopen(fd);
	if (ro < 0)
		return ro;
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, ro, 0);
	if (map == MAP_FAILED)
		r = -errno;
	close(ro);
	if (r)
		return r;
	madvise(map, size, MADV_DONTDUMP);
	*ret = map;
	return 0;
}

void segment_unmap(const void *map, uint64_t size)
{
	uint64_t n;

	for (; size; size -= n) {
		n = size % UNMAP_STEP ? size % UNMAP_STEP : UNMAP_STEP;
		munmap((char *)(uintptr_t)map + (size - n), n);
	}
}
