package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/neargrid/neargrid/server"
)

// Ports that follow from the grid door's, where nothing else is asked for.
const (
	clusterPortStep = 1000
	peerPortStep    = 10000
	portMax         = 65535
)

// checkAddress tells what is wrong with a host:port, in words that say what to write.
func checkAddress(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("write HOST:PORT, for example 127.0.0.1:6379")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > portMax {
		return fmt.Errorf("the port is a number from 0 to %d", portMax)
	}
	return nil
}

// stepPort is an address on the same host, so many ports further on. From port 0, any, it leads to port 0; ok is false where there
// is no such port.
func stepPort(addr string, step int) (stepped string, ok bool) {
	host, port := splitAddress(addr)
	if port == 0 {
		return net.JoinHostPort(host, "0"), true
	}
	return net.JoinHostPort(host, strconv.Itoa(port+step)), port+step <= portMax
}

// splitAddress divides an address that checkAddress has passed.
func splitAddress(addr string) (host string, port int) {
	host, text, _ := net.SplitHostPort(addr)
	port, _ = strconv.Atoi(text)
	return host, port
}

// announced is what others are told of an address that is listened on: the host that was asked for, else the address's own, and where
// that is every address of the machine, the first that other machines could reach. Empty stays empty.
func announced(host, addr string) string {
	if addr == "" {
		return ""
	}
	own, port := splitAddress(addr)
	if host == "" {
		host = own
		if ip := net.ParseIP(own); own == "" || ip.IsUnspecified() {
			host = outwardHost()
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// outwardHost is this machine's first address that is not a loopback one, of IPv4 where there is one; without any, a loopback one.
func outwardHost() string {
	addrs, _ := net.InterfaceAddrs()
	host := ""
	for _, a := range addrs {
		network, ok := a.(*net.IPNet)
		if !ok || !network.IP.IsGlobalUnicast() {
			continue
		}
		if network.IP.To4() != nil {
			return network.IP.String()
		}
		if host == "" {
			host = network.IP.String()
		}
	}
	if host == "" {
		return "127.0.0.1"
	}
	return host
}

// portError: an address cannot be listened on.
type portError struct {
	addr, flag string
	err        error
}

func (e *portError) Error() string {
	return fmt.Sprintf("listen on %s: %v: %s %s", e.addr, e.err, portAdvice(e.err), e.flag)
}

func (e *portError) Unwrap() error { return e.err }

func portAdvice(err error) string {
	if errors.Is(err, server.ErrAddrInUse) {
		return "stop the program that has it, or choose another port with"
	}
	return "choose another address with"
}

// plainPortError leaves of an error of listening only what the system says.
func plainPortError(err error) error {
	var number syscall.Errno
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return server.ErrAddrInUse
	case errors.As(err, &number):
		return number
	}
	return err
}

// reservePort finds out whether an address can be listened on, and which port it will be where 0 asks for any: a node announces its
// doors before it opens them. Somebody else may take the port in between; then opening the door fails.
func reservePort(addr, flag string) (string, error) {
	if addr == "" {
		return "", nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", &portError{addr, flag, plainPortError(err)}
	}
	defer l.Close()
	host, _ := splitAddress(addr)
	_, port := splitAddress(l.Addr().String())
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// hostAnyPort is an address whose port is still to be known.
func hostAnyPort(host string) string { return net.JoinHostPort(host, "0") }
