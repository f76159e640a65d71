package loadtest

import (
	"errors"
	"net"
	"strconv"
	"strings"
)

// TargetForms says how a target is written.
const TargetForms = "write HOST:PORT, cluster:HOST:PORT, tls:HOST:PORT, near:HOST:PORT or the path of a Unix socket, such as /run/neargrid.sock"

// ParseTarget reads how a server is reached:
//
//	HOST:PORT           over TCP
//	tls:HOST:PORT       the same, encrypted
//	cluster:HOST:PORT   as a client that knows Redis Cluster; the address is that of one of the nodes
//	/PATH, unix:PATH    over a Unix socket, such as a sidecar's
//	near:...            any of these but cluster:, through package client and a near cache
func ParseTarget(text string) (addr string, form TargetForm, err error) {
	addr = text
	kind, rest, cut := strings.Cut(text, ":")
	if cut && kind == "near" {
		if addr, form, err = ParseTarget(rest); err == nil && (form.Cluster || form.Near) {
			err = errors.New("behind near: write an address, of any node and any of its doors")
		}
		form.Near = true
		return addr, form, err
	}
	switch {
	case strings.HasPrefix(text, "/"):
		return addr, form, nil
	case cut && kind == "unix":
		if !strings.HasPrefix(rest, "/") {
			return "", form, errors.New("the path of a Unix socket begins with /")
		}
		return rest, form, nil
	case cut && kind == "cluster":
		addr, form.Cluster = rest, true
	case cut && kind == "tls":
		addr, form.TLS = rest, true
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", form, errors.New(TargetForms)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", form, errors.New("the port is a number from 1 to 65535")
	}
	return addr, form, nil
}

// TargetForm is what an address says of a target beside where it is.
type TargetForm struct{ Cluster, TLS, Near bool }

// At is a target of the same settings at another address. TLS is the caller's to set, and to make a Near of it.
func (t *RESP) At(addr string, form TargetForm) *RESP {
	return &RESP{
		Addr: addr, Cluster: form.Cluster, Password: t.Password, Prefix: t.Prefix, TTL: t.TTL, Verify: t.Verify, Sizes: t.Sizes,
		ReadThrough: t.ReadThrough, Source: t.Source, dial: t.dial,
	}
}
