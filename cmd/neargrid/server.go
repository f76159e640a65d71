package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/server"
)

var serverCommand = command{
	name:    "server",
	summary: "runs a node",
	about:   "neargrid server runs one node. Redis clients connect to it; its data is in memory.",
	flags: []flagSpec{
		{name: "listen", placeholder: "HOST:PORT", value: "127.0.0.1:6379", help: "where clients connect; off: at the Unix socket alone"},
		{name: "unixsocket", placeholder: "PATH", help: "where clients of this machine connect as well"},
		{name: "data-dir", placeholder: "DIR", value: "./neargrid-data", help: "holds the node's id, and a lock so that one process uses it"},
		{name: "maxmemory", placeholder: "SIZE", value: "0", help: "memory for data, such as 100mb or 2gb; 0: no limit, as in Redis"},
		{name: "partitions", placeholder: "N", value: strconv.Itoa(partitionsDefault), help: "parts the keys are spread over, a power of two up to 16384"},
		{name: "requirepass-file", placeholder: "FILE", help: "the first line of FILE is the password that clients must give"},
		{name: "io-loops", placeholder: "N", value: "0", help: "event loops; 0: one less than there are processors"},
		{name: "insecure", help: "let other machines connect without a password"},
		configFlag,
		{name: "join", placeholder: "HOST:PORT,...", later: true},
		{name: "create", later: true},
		{name: "zone", placeholder: "ZONE", later: true},
		{name: "role", placeholder: "ROLE", later: true},
		{name: "profile", placeholder: "PROFILE", later: true},
		{name: "on-total-loss", placeholder: "WHAT", later: true},
		{name: "cluster-listen", placeholder: "ADDR", later: true},
		{name: "peer-listen", placeholder: "ADDR", later: true},
		{name: "advertise", placeholder: "HOST", later: true},
		{name: "secret-file", placeholder: "FILE", later: true},
	},
	run: runServer,
}

const (
	drainTimeout      = 10 * time.Second // how long connections may take to receive their last replies
	partitionsDefault = 256
	loopsMax          = 1024
	portMax           = 65535
)

func runServer(env environment, in inputs) error {
	options, err := serverOptions(in)
	if err != nil {
		return err
	}
	options.LogLevel = new(slog.LevelVar)
	return runNode(env, in, options, in.text("data-dir"), nil)
}

// serverOptions turns the flags of neargrid server into a server's options.
func serverOptions(in inputs) (o server.Options, err error) {
	o.Unixsocket = in.text("unixsocket")
	if o.Listen, err = listenAddress(in); err != nil {
		return o, err
	}
	if o.MaxMemory, err = server.ParseMemory(in.text("maxmemory")); err != nil {
		return o, in.wrong("maxmemory", "write a size such as 100mb or 2gb, or 0 for no limit")
	}
	if o.Partitions, err = in.number("partitions", 1, partition.Slots); err != nil || bits.OnesCount(uint(o.Partitions)) != 1 {
		return o, in.wrong("partitions", fmt.Sprintf("write a power of two from 1 to %d", partition.Slots))
	}
	if o.Loops, err = in.number("io-loops", 0, loopsMax); err != nil {
		return o, err
	}
	if o.Insecure, err = in.on("insecure"); err != nil {
		return o, err
	}
	o.RequirePass, err = password(in)
	return o, err
}

func listenAddress(in inputs) (string, error) {
	addr := in.text("listen")
	if addr == "off" {
		if in.text("unixsocket") == "" {
			return "", in.wrong("listen", "needs --unixsocket, or clients have no way in")
		}
		return "", nil
	}
	if err := checkAddress(addr); err != nil {
		return "", in.wrong("listen", err.Error())
	}
	return addr, nil
}

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

// password is the first line of the file that --requirepass-file names.
func password(in inputs) (string, error) {
	path := in.text("requirepass-file")
	if path == "" {
		return "", nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", usagef("cannot read the password file: %v", err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	if first = strings.TrimSuffix(first, "\r"); first == "" {
		return "", usagef("the password file %s is empty: write the password on its first line", path)
	}
	return first, nil
}

// runNode runs a node until it is told to stop. ready, where given, is called once clients can connect.
func runNode(env environment, in inputs, o server.Options, dataDir string, ready func(addr string)) error {
	// Never given back to the system: a late signal must not cut short what is tidied up on the way out.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)

	addSettings(env, in, &o)
	log, err := newLogger(env, o.LogLevel)
	if err != nil {
		return err
	}
	o.Logger = log
	dir, err := openDataDir(dataDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	o.NodeID = dir.nodeID

	srv, err := server.New(o)
	if err != nil {
		return explain(in, err)
	}
	stopProfiler, err := startProfiler(env, log)
	if err != nil {
		return err
	}
	defer stopProfiler()
	if err := srv.Start(); err != nil {
		return err
	}
	log.Info("ready", "listen", srv.Addr(), "unixsocket", o.Unixsocket, "node", o.NodeID, "version", server.Version,
		"partitions", o.Partitions, "maxmemory", o.MaxMemory, "data", "in the memory of this process alone")
	if ready != nil {
		ready(srv.Addr())
	}
	select {
	case s := <-signals:
		log.Info("stopping", "why", s.String())
	case <-srv.Done():
		log.Info("stopping", "why", "SHUTDOWN")
	}
	return drain(srv, log, signals)
}

// drain lets connections receive what is executed. A second signal ends it at once.
func drain(srv *server.Server, log *slog.Logger, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			log.Warn("connections were closed before they were drained", "error", err)
		}
		log.Info("stopped")
		return nil
	case s := <-signals:
		return fmt.Errorf("stopped at once by a second signal (%s)", s)
	}
}

// addSettings takes over what is set by names of CONFIG: in the file, and NEARGRID_LOG_LEVEL.
func addSettings(env environment, in inputs, o *server.Options) {
	for _, i := range in.config {
		o.Config = append(o.Config, [2]string{i.name, i.value})
	}
	if level := env.variable("NEARGRID_LOG_LEVEL"); level != "" {
		o.Config = append(o.Config, [2]string{"loglevel", level})
	}
}

// explain words an error of server.New for who started the program.
func explain(in inputs, err error) error {
	if errors.Is(err, server.ErrExposed) {
		return usagef("other machines could connect to %s without a password: set one with --requirepass-file, listen on 127.0.0.1, or give --insecure", in.text("listen"))
	}
	var setting *server.ConfigError
	if !errors.As(err, &setting) {
		return err
	}
	from := "NEARGRID_LOG_LEVEL"
	for _, i := range in.config {
		if strings.EqualFold(i.name, setting.Name) {
			from = i.from
		}
	}
	return usagef("%s: %v", from, setting.Err)
}
