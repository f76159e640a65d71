package sidecar

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	// peerPortStep is by how much a node's peer port is above its door, unless it was told otherwise.
	peerPortStep = 10000
	// probeTimeout bounds the look at one address.
	probeTimeout = time.Second
)

// doors are the addresses of doors for those of doors or peer ports.
func doors(ctx context.Context, addrs []string) []string {
	found := make([]string, len(addrs))
	for i, addr := range addrs {
		found[i] = door(ctx, addr)
	}
	return found
}

// door finds out whether an address is a door's: a door answers. What takes connections and does not answer is a peer port, and the door
// is peerPortStep below.
func door(ctx context.Context, addr string) string {
	host, text, err := net.SplitHostPort(addr)
	port, _ := strconv.Atoi(text)
	if err != nil || strings.HasPrefix(addr, "/") || strings.HasPrefix(addr, "unix:") || port <= peerPortStep {
		return addr
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return addr
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	answer := make([]byte, 1)
	if _, err = conn.Write([]byte("PING\r\n")); err == nil {
		_, err = conn.Read(answer)
	}
	if err == nil && (answer[0] == '+' || answer[0] == '-') {
		return addr
	}
	return net.JoinHostPort(host, strconv.Itoa(port-peerPortStep))
}
