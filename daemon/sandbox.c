// SPDX-License-Identifier: BSD-2-Clause
/*
 * A daemon that was started by root needs root for a moment: to make its socket
 * where only root may, to have a ring where sysctl kernel.io_uring_disabled
 * keeps them for CAP_SYS_ADMIN, and to raise its limits. Huge pages by memfd ask
 * for no capability at all. So all are given up, in every set, and no_new_privs
 * keeps them from coming back. What the unit of systemd says about the same is
 * said there for the kernel's other doors; this holds without it.
 *
 * A root without capabilities still owns root's files. Whoever runs the daemon
 * without systemd does better to give it a user.
 */
#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/sandbox.h"

/*
 * Sanitizers trace their own process from another at its end, by calls and with
 * signals blocked: the filter is not for them, and its test has it by itself.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FILTERED 0
#else
#define FILTERED 1
#endif

static bool has_capabilities(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2] = { 0 };

	if (syscall(SYS_capget, &header, data))
		return true;
	return data[0].permitted || data[1].permitted || data[0].inheritable ||
	       data[1].inheritable;
}

/* The bounding set first: taking from it is a capability's right. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2] = { 0 };

	if (!has_capabilities())
		return 0;
	for (int i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
		prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

static void left_out(const char *what, int error)
{
	log_warning("sandbox left out", "part=%s error=\"%s\"", what,
		    strerror(-error));
}

void sandbox_enter(void)
{
	int r = drop_capabilities();

	if (r)
		left_out("capabilities", r);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		left_out("no_new_privs", -errno);
	r = FILTERED ? sandbox_filter_install() : -ENOTSUP;
	if (r)
		left_out("seccomp", r);
}
