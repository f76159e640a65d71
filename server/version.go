package server

import (
	"net"
	"runtime"
	"strconv"
)

// Version is neargrid's own.
const Version = "0.1.0"

// multiplexingAPI is how connections are served: by epoll loops on Linux, by goroutines elsewhere.
var multiplexingAPI = map[bool]string{true: "epoll", false: "goroutines"}[runtime.GOOS == "linux"]

// port is the TCP door's; 0 without one.
func (srv *Server) port() int {
	_, port, _ := net.SplitHostPort(srv.addr)
	n, _ := strconv.Atoi(port)
	return n
}
