package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/neargrid/neargrid/server"
)

// newLogger writes to standard error in the form that NEARGRID_LOG names. level is moved by CONFIG SET loglevel.
func newLogger(env environment, level *slog.LevelVar) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	switch form := env.variable("NEARGRID_LOG"); form {
	case "", "text":
		return slog.New(slog.NewTextHandler(env.stderr, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(env.stderr, options)), nil
	default:
		return nil, usagef("NEARGRID_LOG %q: write text or json", form)
	}
}

// headerTimeout bounds how long the profiler waits for a request.
const headerTimeout = 5 * time.Second

// startProfiler serves Go's profiles where NEARGRID_PPROF says, for this machine only: profiles show what is stored. It
// returns what ends it.
func startProfiler(env environment, log *slog.Logger) (stop func(), err error) {
	addr := env.variable("NEARGRID_PPROF")
	if addr == "" {
		return func() {}, nil
	}
	if err := checkAddress(addr); err != nil || !server.IsLoopback(addr) {
		return nil, usagef("NEARGRID_PPROF %q: write a loopback address, for example 127.0.0.1:6060", addr)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("NEARGRID_PPROF %q: cannot listen there: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	web := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	go web.Serve(listener)
	log.Info("profiler is on", "url", "http://"+listener.Addr().String()+"/debug/pprof/")
	return func() { web.Close() }, nil
}
