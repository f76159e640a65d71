package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	gridclient "github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/nearcache"
	"github.com/neargrid/neargrid/server"
	"github.com/neargrid/neargrid/sidecar"
)

var sidecarCommand = command{
	name:    "sidecar",
	summary: "runs a near cache beside programs in any language",
	about: `neargrid sidecar answers Redis clients of this machine: reads from its own memory where it holds what is asked for and
may use it, everything else from the grid. It holds no data of its own. Started before the grid it waits for it.`,
	flags: []flagSpec{
		{name: "join", placeholder: "HOST:PORT,...", help: "nodes of the grid: where clients connect, or their peer ports, 10000 above"},
		{name: "listen", placeholder: "HOST:PORT", value: "127.0.0.1:6380", help: "where clients connect; off: at the Unix socket alone"},
		{name: "unixsocket", placeholder: "PATH", help: "where clients of this machine connect as well"},
		{name: "near-memory", placeholder: "SIZE", value: "64mb", help: "memory for what is held, all included"},
		{name: "near-prefixes", placeholder: "TEXT,...", help: "hold keys that begin with one of these; without it all keys"},
		{name: "staleness", placeholder: "TIME", value: "1s", help: "the age that what is answered from memory may have at most"},
		{name: "requirepass-file", placeholder: "FILE", help: "the first line of FILE is the password that clients of the sidecar must give"},
		{name: "username", placeholder: "NAME", help: "with --password-file: who the sidecar is at the grid; without it default"},
		{name: "password-file", placeholder: "FILE", help: "the first line of FILE is the password that the sidecar gives to the grid"},
		{name: "tls", help: "connect to the grid by TLS"},
		{name: "tls-ca", placeholder: "FILE", help: "with --tls: certificates that the grid's are checked against; without it the system's"},
		{name: "io-loops", placeholder: "N", value: "0", help: "event loops; 0: one less than there are processors"},
		{name: "insecure", help: "let other machines connect without a password"},
		configFlag,
	},
	run: runSidecar,
}

func runSidecar(env environment, in inputs) error {
	o, err := sidecarOptions(in)
	if err != nil {
		return err
	}
	signals := watchSignals()
	o.Server.LogLevel = new(slog.LevelVar)
	addSettings(env, in, &o.Server)
	log, err := newLogger(env, o.Server.LogLevel)
	if err != nil {
		return err
	}
	o.Server.Logger = log
	stopProfiler, err := startProfiler(env, log)
	if err != nil {
		return err
	}
	defer stopProfiler()
	s, err := sidecar.New(o)
	if err != nil {
		return explain(in, err)
	}
	if err := s.Start(); err != nil {
		return errors.Join(err, s.Close(context.Background()))
	}
	log.Info("ready", "listen", s.Addr(), "unixsocket", o.Server.Unixsocket, "version", server.Version, "join", in.text("join"),
		"near-memory", o.Near.MemoryMax, "staleness", o.Near.Staleness)
	select {
	case <-signals.first.Done():
		log.Info("stopping", "why", context.Cause(signals.first))
	case <-s.Done():
		log.Info("stopping", "why", "SHUTDOWN")
	}
	return stopSidecar(s, signals, log)
}

// stopSidecar ends it within stopTimeout, or at once at a second signal.
func stopSidecar(s *sidecar.Sidecar, signals stopSignals, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(signals.second, stopTimeout)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		log.Warn("connections were closed before they were drained", "error", err)
	}
	if signals.second.Err() != nil {
		return fmt.Errorf("stopped at once by a second signal (%w)", context.Cause(signals.second))
	}
	log.Info("stopped")
	return nil
}

// sidecarOptions are the flags of neargrid sidecar.
func sidecarOptions(in inputs) (o sidecar.Options, err error) {
	if in.text("join") == "" {
		return o, usagef("name nodes of the grid with --join, for example --join 10.0.0.1:6379,10.0.0.2:6379")
	}
	for _, addr := range addresses(in.text("join")) {
		if err := checkAddress(addr); err != nil {
			return o, in.wrong("join", strings.Replace(err.Error(), "127.0.0.1:6379", "10.0.0.1:6379,10.0.0.2:6379", 1))
		}
		o.Join = append(o.Join, addr)
	}
	o.Server.Unixsocket = in.text("unixsocket")
	if o.Server.Listen, err = listenAddress(in); err != nil {
		return o, err
	}
	if o.Server.Loops, err = in.number("io-loops", 0, loopsMax); err != nil {
		return o, err
	}
	if o.Server.Insecure, err = in.on("insecure"); err != nil {
		return o, err
	}
	if o.Server.RequirePass, err = password(in, "requirepass-file"); err != nil {
		return o, err
	}
	if o.Near, err = nearOptions(in); err != nil {
		return o, err
	}
	o.Client, err = gridClient(in)
	return o, err
}

// nearOptions are those of the near cache.
func nearOptions(in inputs) (near gridclient.NearCache, err error) {
	if near.MemoryMax, err = server.ParseMemory(in.text("near-memory")); err != nil || near.MemoryMax < nearcache.MemoryBytesMin {
		return near, in.wrong("near-memory", fmt.Sprintf("write a size such as 64mb, at least %d bytes", nearcache.MemoryBytesMin))
	}
	if near.Staleness, err = time.ParseDuration(in.text("staleness")); err != nil || near.Staleness < 10*time.Millisecond || near.Staleness > time.Hour {
		return near, in.wrong("staleness", "write a time from 10ms to 1h")
	}
	near.Prefixes = addresses(in.text("near-prefixes"))
	return near, nil
}

// gridClient is how the sidecar connects to the grid.
func gridClient(in inputs) (o gridclient.Options, err error) {
	if o.Password, err = password(in, "password-file"); err != nil {
		return o, err
	}
	if o.Username = in.text("username"); o.Username != "" && o.Password == "" {
		return o, in.wrong("username", "needs --password-file")
	}
	secure, err := in.on("tls")
	if err != nil {
		return o, err
	}
	path := in.text("tls-ca")
	switch {
	case !secure && path != "":
		return o, in.wrong("tls-ca", "needs --tls")
	case secure:
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if path == "" {
		return o, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return o, usagef("cannot read the certificates: %v", err)
	}
	o.TLS.RootCAs = x509.NewCertPool()
	if !o.TLS.RootCAs.AppendCertsFromPEM(content) {
		return o, in.wrong("tls-ca", "there is no certificate in it")
	}
	return o, nil
}

// addresses divides what commas or spaces separate.
func addresses(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}
