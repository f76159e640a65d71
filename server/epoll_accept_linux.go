package server

import (
	"golang.org/x/sys/unix"
)

// acceptsPerTurnMax is how many connections are accepted before those that exist have their turn.
const acceptsPerTurnMax = 128

// openSpare holds a descriptor in reserve; -1 where there is none to be had.
func openSpare() int {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

func (l *epollLoop) watchListener(door epollListener) error {
	return unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, door.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(door.fd)})
}

// acceptFrom accepts what waits at a door, on loop 0.
func (l *epollLoop) acceptFrom(fd int) {
	for _, door := range l.driver.listeners {
		if door.fd != fd {
			continue
		}
		for range acceptsPerTurnMax {
			if !l.accept(door) {
				return
			}
		}
	}
}

// accept accepts one connection, and reports whether to go on.
func (l *epollLoop) accept(door epollListener) bool {
	fd, sa, err := unix.Accept4(door.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if (err == unix.EMFILE || err == unix.ENFILE) && l.driver.spare >= 0 {
		return l.refuse(door)
	}
	switch err {
	case nil:
		l.hand(fd, sa, door)
		return true
	case unix.EAGAIN:
		return false
	case unix.EINTR, unix.ECONNABORTED:
		return true
	}
	l.driver.log.Warn("accept", "error", err)
	l.pauseAccept()
	return false
}

// refuse gets rid of a connection that there is no descriptor for, and reports whether to go on.
//
// The kernel would leave it in its queue and report it again and again. So the spare descriptor is given up to accept
// it, and it is closed: its client learns, and nobody else is held up. There may also be no connection at all, for the
// kernel looks for a descriptor first.
func (l *epollLoop) refuse(door epollListener) bool {
	d := l.driver
	unix.Close(d.spare)
	fd, _, err := unix.Accept4(door.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err == nil {
		unix.Close(fd)
		d.refused++
	}
	if d.spare = openSpare(); d.spare < 0 {
		l.pauseAccept() // another thread was faster
		return false
	}
	return err == nil
}

// hand gives a connection to the loop whose turn it is.
func (l *epollLoop) hand(fd int, sa unix.Sockaddr, door epollListener) {
	d := l.driver
	to := d.loops[d.next]
	d.next = (d.next + 1) % len(d.loops)
	if to == l {
		l.open(fd, d.prepare(fd, sa, door.door))
		return
	}
	if !to.mailbox.post(func() { to.open(fd, d.prepare(fd, sa, door.door)) }) {
		unix.Close(fd)
	}
}

// prepare sets a connection's options. They speed it up or watch over it: one that cannot be set is no reason to refuse.
func (d *epollDriver) prepare(fd int, sa unix.Sockaddr, from door) connInfo {
	if from.path != "" {
		return connInfo{Remote: unixAddr(from.path), Local: unixAddr(from.path), Unix: true, FD: fd}
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if seconds := d.keepAlive(); seconds > 0 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, max(1, seconds/keepAliveProbes))
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveProbes)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	}
	info := connInfo{Remote: remoteAddr(sa), Cluster: from.cluster, FD: fd}
	if local, err := unix.Getsockname(fd); err == nil {
		info.Local = remoteAddr(local)
	}
	return info
}

// pauseAccept stops accepting until the next tick, after an error that would come again at once.
func (l *epollLoop) pauseAccept() {
	l.paused = true
	for _, door := range l.driver.listeners {
		_ = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_DEL, door.fd, nil)
	}
}

// acceptTick resumes accepting, and logs what had to be refused.
func (l *epollLoop) acceptTick() {
	d := l.driver
	if d.spare < 0 {
		d.spare = openSpare()
	}
	if d.refused > 0 {
		d.log.Warn("refused connections: out of file descriptors; raise the limit (ulimit -n)", "connections", d.refused)
		d.refused = 0
	}
	if !l.paused {
		return
	}
	l.paused = false
	for _, door := range d.listeners {
		if err := l.watchListener(door); err != nil && err != unix.EEXIST {
			l.paused = true // to be tried again
		}
	}
}
