/* DPDK's environment, in a process that is not DPDK's: no huge pages, no devices, no files, no output, and the calling thread's affinity as it was. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "dpdk.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* DPDK makes a folder for its files even where it has none to write (and refuses a name of its own for it with --in-memory). Only empty ones go. */
static void remove_folder(void)
{
	char path[4096], *slash;

	snprintf(path, sizeof(path), "%s", rte_eal_get_runtime_dir());
	if (rmdir(path) == 0 && (slash = strrchr(path, '/'))) {
		*slash = 0;
		rmdir(path);
	}
}

/* The calling thread becomes DPDK's lcore 0, on the CPU where it is pinned. 0, or an errno. */
int waterwheel_dpdk_init(unsigned cpu, unsigned megabytes)
{
	char lcores[32], memory[32], prefix[48];
	char *args[] = {"waterwheel", "--lcores", lcores, "-m", memory, "--file-prefix", prefix, "--no-huge", "--no-shconf",
			"--no-pci", "--no-telemetry", "--log-level=1"};
	cpu_set_t before;
	int failed;

	snprintf(lcores, sizeof(lcores), "0@%u", cpu);
	snprintf(memory, sizeof(memory), "%u", megabytes);
	snprintf(prefix, sizeof(prefix), "waterwheel%d", (int)getpid());
	if (sched_getaffinity(0, sizeof(before), &before))
		CPU_ZERO(&before);
	failed = rte_eal_init(RTE_DIM(args), args) >= 0 ? 0 : rte_errno ? rte_errno : EIO;
	if (CPU_COUNT(&before))
		sched_setaffinity(0, sizeof(before), &before);
	remove_folder();
	return failed;
}

/* A thread without an lcore has no cache in the pools, so that it would take every object from the shared ring.
 * 0: it has one; 1: it has one now, and has to leave; -1: there is none left. */
int waterwheel_dpdk_enter(void)
{
	if (rte_lcore_id() != LCORE_ID_ANY)
		return 0;
	return rte_thread_register() ? -1 : 1;
}

void waterwheel_dpdk_leave(void)
{
	rte_thread_unregister();
}
