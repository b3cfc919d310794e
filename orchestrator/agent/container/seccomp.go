package container

import (
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// allowed are the system calls of ordinary programs, after the default profile of containerd for a container without
// capabilities. What is not here answers EPERM: mount, namespaces, modules, keys, bpf, io_uring, userfaultfd, clock
// settings and whatever the kernel gets next.
const allowed = `
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown clock_adjtime
clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit exit_group
faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync
fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait
futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer
getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit get_robust_list
getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getxattr inotify_add_watch
inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup
io_submit ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown
lgetxattr link linkat listen listxattr llistxattr lremovexattr lseek lsetxattr lstat madvise membarrier memfd_create
memfd_secret mincore mkdir mkdirat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open
mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc
pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pwrite64 pwritev
pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr rename
renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam
sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr
sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg
sendto setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid
setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setxattr shmat shmctl shmdt
shmget shutdown sigaltstack signalfd signalfd4 socketpair splice stat statfs statx symlink symlinkat
sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat utime
utimensat utimes vfork vmsplice wait4 waitid write writev`

const (
	enosys = 38

	// namespaceFlags are the CLONE_NEW* of clone(2).
	namespaceFlags = 0x7E020000

	// btrfsVolumes is what the ioctls have in common that make, change or delete subvolumes: _IOW(0x94, *, 4096). A
	// subvolume inside of a home would be missing in its snapshots.
	btrfsVolumes, btrfsVolumesMask = 0x50009400, 0xFFFFFF00

	familyVsock = 40
)

func seccomp(arch string) *specs.LinuxSeccomp {
	errno := uint(1) // EPERM
	nosys := uint(enosys)
	profile := &specs.LinuxSeccomp{
		DefaultAction:   specs.ActErrno,
		DefaultErrnoRet: &errno,
		Architectures:   []specs.Arch{specs.ArchX86_64},
		Syscalls: []specs.LinuxSyscall{
			{Names: strings.Fields(allowed), Action: specs.ActAllow},
			// Its flags lie in memory, where a filter cannot look; "no such call" makes the libraries use clone.
			{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &nosys},
			{Names: []string{"clone"}, Action: specs.ActAllow,
				Args: []specs.LinuxSeccompArg{{Index: 0, Value: namespaceFlags, ValueTwo: 0, Op: specs.OpMaskedEqual}}},
			// Ordinary Linux and 32-bit Linux only; and reading it.
			{Names: []string{"personality"}, Action: specs.ActAllow,
				Args: []specs.LinuxSeccompArg{{Index: 0, Value: 0, Op: specs.OpEqualTo}}},
			{Names: []string{"personality"}, Action: specs.ActAllow,
				Args: []specs.LinuxSeccompArg{{Index: 0, Value: 0xffffffff, Op: specs.OpEqualTo}}},
			// A vsock would reach the hypervisor past every network rule.
			{Names: []string{"socket"}, Action: specs.ActAllow,
				Args: []specs.LinuxSeccompArg{{Index: 0, Value: familyVsock, Op: specs.OpNotEqual}}},
		},
	}
	switch arch {
	case "amd64":
		profile.Syscalls[0].Names = append(profile.Syscalls[0].Names, "arch_prctl")
	case "arm64":
		profile.Architectures = []specs.Arch{specs.ArchAARCH64}
	}
	// ioctl is allowed when at least one of the bits differs. The kernel takes 32 bits of the number and a filter
	// sees 64, so a plain comparison could be passed with rubbish in the upper half.
	for bit := uint64(1); bit <= btrfsVolumesMask; bit <<= 1 {
		if bit&btrfsVolumesMask == 0 {
			continue
		}
		profile.Syscalls = append(profile.Syscalls, specs.LinuxSyscall{Names: []string{"ioctl"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 1, Value: bit, ValueTwo: ^uint64(btrfsVolumes) & bit, Op: specs.OpMaskedEqual}}})
	}
	return profile
}
