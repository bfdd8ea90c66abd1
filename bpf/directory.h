/*
 * Paths of directories, as the process sees them.
 */
#pragma once

#include "filter.h"

#define AT_FDCWD -100
#define WALK_BYTES 512
#define WALK_COMPONENTS 24
#define WALK_STEPS (WALK_COMPONENTS + 16) /* mount points on the way, and the root, are steps too */
#define NAME_BYTES 256 /* NAME_MAX and the NUL */
/* The last component may reach over the end. */
#define DIRECTORY_BYTES (WALK_BYTES + NAME_BYTES)

/* A walk from a directory up to the process's root, as d_path walks. */
struct walk {
	struct vfsmount *mnt;
	struct dentry *dentry;
	struct vfsmount *root_mnt;
	struct dentry *root;
	__u64 length;
	__u64 components;
	char names[DIRECTORY_BYTES];
};

/*
 * A slot for each program of an object that walks. A program does not interrupt itself on its CPU, but
 * where the kernel is preemptible, one program can be put aside for another in the middle of a walk.
 */
#define WALKS 3

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WALKS);
	__type(key, __u32);
	__type(value, struct walk);
} walk_scratch SEC(".maps");

enum step { ON, DONE, TOO_LONG };

/*
 * One step: up a dentry, whose name is appended, or from the root of a mount to where it is mounted.
 * A function of its own, and global, so that the verifier looks at it once and not once for each way
 * to get here; its state is in a map because on 5.10 such a function takes no pointers.
 */
__noinline int walk_step(int slot)
{
	__u32 index = (__u32)slot;
	struct walk *walk = bpf_map_lookup_elem(&walk_scratch, &index);
	struct dentry *dentry, *parent;
	struct vfsmount *mnt;
	struct mount *mount;
	long part;

	if (!walk)
		return TOO_LONG;
	dentry = walk->dentry;
	mnt = walk->mnt;
	if (dentry == walk->root && mnt == walk->root_mnt)
		return DONE;
	if (dentry == BPF_CORE_READ(mnt, mnt_root)) {
		mount = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
		walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		if (BPF_CORE_READ(mount, mnt_parent) == mount)
			return DONE;
		mount = BPF_CORE_READ(mount, mnt_parent);
		walk->mnt = (void *)mount + bpf_core_field_offset(struct mount, mnt);
		return ON;
	}
	parent = BPF_CORE_READ(dentry, d_parent);
	if (dentry == parent)
		return DONE;
	if (walk->length >= WALK_BYTES || walk->components >= WALK_COMPONENTS)
		return TOO_LONG;
	part = bpf_probe_read_kernel_str(walk->names + (walk->length & (WALK_BYTES - 1)), NAME_BYTES,
					 BPF_CORE_READ(dentry, d_name.name));
	if (part <= 0)
		return TOO_LONG;
	walk->components++;
	walk->length += part;
	walk->dentry = parent;
	return ON;
}

/* Sets out from the directory behind a descriptor, or the working directory. */
static __always_inline bool set_out(struct task_struct *task, struct walk *walk, int dirfd)
{
	struct fdtable *table;
	struct file **slot, *file;

	walk->root_mnt = BPF_CORE_READ(task, fs, root.mnt);
	walk->root = BPF_CORE_READ(task, fs, root.dentry);
	walk->length = 0;
	walk->components = 0;
	if (dirfd == AT_FDCWD) {
		walk->mnt = BPF_CORE_READ(task, fs, pwd.mnt);
		walk->dentry = BPF_CORE_READ(task, fs, pwd.dentry);
		return true;
	}
	table = BPF_CORE_READ(task, files, fdt);
	if (dirfd < 0 || (__u32)dirfd >= BPF_CORE_READ(table, max_fds))
		return false;
	slot = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), slot + dirfd) || !file)
		return false;
	walk->mnt = BPF_CORE_READ(file, f_path.mnt);
	walk->dentry = BPF_CORE_READ(file, f_path.dentry);
	return true;
}

/*
 * The components of a directory into `names` (DIRECTORY_BYTES), the last one first; their length, or 0
 * where they do not fit. The root itself has none: its length is that of one empty component. `slot`
 * is the calling program's own.
 */
static __always_inline __u32 directory(struct task_struct *task, int dirfd, char *names, __u32 slot)
{
	struct walk *walk = bpf_map_lookup_elem(&walk_scratch, &slot);

	if (!walk || !set_out(task, walk, dirfd))
		return 0;
	for (int i = 0; i < WALK_STEPS; i++) {
		int step = walk_step((int)slot);

		if (step == TOO_LONG)
			return 0;
		if (step == DONE) {
			if (walk->length > WALK_BYTES)
				return 0;
			if (!walk->length) {
				names[0] = 0;
				return 1;
			}
			bpf_probe_read_kernel(names, DIRECTORY_BYTES, walk->names);
			return (__u32)walk->length;
		}
	}
	return 0;
}
