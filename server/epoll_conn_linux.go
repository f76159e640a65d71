package server

import (
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// epollConn is one connection of an event loop, and the loop as its session sees it.
type epollConn struct {
	loop       *epollLoop
	session    sessionIO // nil once it is closed; the connection may still linger
	fd         int       // -1 once it is closed
	generation int32     // tells it from others that had fd before; never 0
	interest   uint32    // what epoll watches for
	dirty      bool      // is in loop.dirty
	listed     bool      // is in loop.stuck
	blocked    bool      // the kernel takes no more output; epoll watches for when it does
	ended      bool      // the peer has finished sending, or is to be treated so
	lingering  bool
	discarded  int           // bytes, while lingering
	deadline   time.Duration // in loop.now's terms, to have closed by; 0 = none
}

// earlyWriteBytes: so much output is written at once, while it is in the processor's cache and before the other sessions
// of the turn have their say; nothing is saved by waiting, as each session's output is a write of its own anyway. Where
// flush stands between executing and replying, it waits for that.
const earlyWriteBytes = 16 << 10

// lingerMax bounds how many connections of a loop linger at once. Others are closed without.
const lingerMax = 256

// Post runs f on the loop.
func (c *epollConn) Post(f func()) { c.loop.mailbox.post(f) }

// Touch has the session settled at the end of the turn.
func (c *epollConn) Touch(sessionIO) {
	if c.session != nil {
		c.markDirty()
	}
}

func (c *epollConn) markDirty() {
	if !c.dirty {
		c.dirty = true
		c.loop.dirty = append(c.loop.dirty, c)
	}
}

// markStuck has the connection ticked every time.
func (c *epollConn) markStuck() {
	if !c.listed {
		c.listed = true
		c.loop.stuck = append(c.loop.stuck, c)
	}
}

// open makes the session of a connection that was accepted, on the loop that is to have it.
func (l *epollLoop) open(fd int, info connInfo) {
	if fd >= len(l.conns) {
		l.conns = append(l.conns, make([]*epollConn, max(fd+1-len(l.conns), len(l.conns)))...)
	}
	l.generation = max(1, l.generation+1)
	c := &epollConn{loop: l, fd: fd, generation: l.generation, interest: unix.EPOLLIN}
	event := unix.EpollEvent{Events: c.interest, Fd: int32(fd), Pad: c.generation}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		l.driver.log.Warn("refused a connection", "addr", info.Remote, "error", err)
		unix.Close(fd)
		return
	}
	l.conns[fd] = c
	l.count++
	c.session = l.driver.accept(c, info)
	if l.draining {
		c.end()
	}
	c.markDirty()
}

// ready handles what epoll has to say.
func (c *epollConn) ready(events uint32) {
	if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 && c.interest&unix.EPOLLIN == 0 {
		c.close() // nobody is left to take output, and no input is wanted that could end it in an orderly way
		return
	}
	if events&unix.EPOLLOUT != 0 {
		c.blocked = false
		c.markDirty()
	}
	if events&^unix.EPOLLOUT == 0 {
		return
	}
	n, errno := rawRead(c.fd, c.loop.read)
	c.loop.reads++
	switch {
	case c.lingering:
		c.discard(n, errno)
	case n > 0:
		c.session.Feed(c.loop.read[:n])
		c.markDirty()
		if c.loop.driver.flush == nil && !c.blocked && len(c.session.Out()) >= earlyWriteBytes && !c.write() {
			c.close()
		}
	case errno == 0:
		c.end()
	case errno != unix.EAGAIN && errno != unix.EINTR:
		c.close()
	}
}

// end tells the session that there will be no more input.
func (c *epollConn) end() {
	if c.ended {
		return
	}
	c.ended = true
	c.session.EOF()
	c.markDirty()
}

// settle writes what the session has to say, and does what it wants.
func (c *epollConn) settle() {
	if c.session == nil {
		return
	}
	if !c.blocked && !c.write() {
		c.close()
		return
	}
	read, write, closing := c.session.Wants()
	if closing && !write {
		c.finish()
		return
	}
	if write && !c.blocked {
		c.markDirty()
	}
	if closing && c.deadline == 0 {
		c.deadline = c.loop.now + closeStallMax
		c.markStuck()
	}
	var interest uint32
	if read && !c.ended {
		interest = unix.EPOLLIN
	}
	if c.blocked {
		interest |= unix.EPOLLOUT
		c.markStuck()
	}
	c.watch(interest)
}

// write writes once, and reports false when the connection is broken.
func (c *epollConn) write() bool {
	out := c.session.Out()
	if len(out) == 0 {
		return true
	}
	out = out[:min(len(out), writeSizeMax)]
	n, errno := rawSend(c.fd, out)
	c.loop.writes++
	switch {
	case n > 0:
		c.blocked = n < len(out)
		c.session.Sent(n)
		c.deadline = 0
	case errno == unix.EAGAIN:
		c.blocked = true
	case errno != unix.EINTR:
		return false
	}
	return true
}

// watch changes what epoll watches for.
func (c *epollConn) watch(interest uint32) {
	if interest == c.interest {
		return
	}
	c.interest = interest
	event := unix.EpollEvent{Events: interest, Fd: int32(c.fd), Pad: c.generation}
	if err := unix.EpollCtl(c.loop.epfd, unix.EPOLL_CTL_MOD, c.fd, &event); err != nil {
		c.close()
	}
}

// finish closes a connection whose session is done, in a way that lets the last replies arrive.
func (c *epollConn) finish() {
	if c.ended && !c.loop.draining || c.blocked || c.loop.lingering == lingerMax || unix.Shutdown(c.fd, unix.SHUT_WR) != nil {
		c.close()
		return
	}
	c.releaseSession()
	c.lingering = true
	c.loop.lingering++
	c.deadline = c.loop.now + lingerTime
	c.markStuck()
	c.watch(unix.EPOLLIN)
}

// discard drops input while lingering, and closes once the peer has.
func (c *epollConn) discard(n int, errno unix.Errno) {
	c.discarded += n
	if n > 0 && c.discarded <= lingerBytesMax || errno == unix.EAGAIN || errno == unix.EINTR {
		return
	}
	c.close()
}

// tick passes time.
func (c *epollConn) tick(now time.Time) {
	switch {
	case c.fd < 0:
	case c.deadline != 0 && c.loop.now >= c.deadline:
		c.close()
	case c.session != nil:
		c.session.Tick(now)
		c.markDirty()
	}
}

// close closes the connection at once.
func (c *epollConn) close() {
	if c.fd < 0 {
		return
	}
	if c.lingering {
		c.loop.lingering--
	}
	c.loop.conns[c.fd] = nil
	c.loop.count--
	unix.Close(c.fd)
	c.fd = -1
	c.releaseSession()
}

func (c *epollConn) releaseSession() {
	if s := c.session; s != nil {
		c.session = nil
		s.Closed()
	}
}

// remoteAddr is a peer's address as text, an IPv4 one as such also where it came through an IPv6 socket.
func remoteAddr(sa unix.Sockaddr) string {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(a.Addr).Unmap()
		if a.ZoneId != 0 {
			ip = ip.WithZone(strconv.Itoa(int(a.ZoneId)))
		}
		return netip.AddrPortFrom(ip, uint16(a.Port)).String()
	}
	return ""
}
