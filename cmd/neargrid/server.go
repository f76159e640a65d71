package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/neargrid/neargrid/cluster"
	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/server"
)

var serverCommand = command{
	name:    "server",
	summary: "runs a node",
	about: "neargrid server runs one node. Redis clients connect to it; its data is in memory. Without --join\n" +
		"and without a grid in its data directory it begins a grid, which others join at its peer port.",
	flags: []flagSpec{
		{name: "listen", placeholder: "HOST:PORT", value: "127.0.0.1:6379", help: "where clients connect; off: at the Unix socket alone"},
		{name: "cluster-listen", placeholder: "HOST:PORT",
			help: "where clients that know Redis Cluster connect; off: nowhere; without it 1000 ports above --listen"},
		{name: "unixsocket", placeholder: "PATH", help: "where clients of this machine connect as well"},
		{name: "peer-listen", placeholder: "HOST:PORT",
			help: "where other nodes connect, TCP and UDP; off: the node stays alone; without it 10000 ports above --listen"},
		{name: "join", placeholder: "HOST:PORT,...",
			help: "peer ports of members of the grid to join; production gives all nodes the same list"},
		{name: "create", help: "with --join: create the grid, where no listed node is found to be a member within 10 seconds"},
		{name: "advertise", placeholder: "HOST",
			help: "what clients and nodes are told as this node's host; without it that of --listen, or this machine's first address"},
		{name: "data-dir", placeholder: "DIR", value: "./neargrid-data",
			help: "holds the node's id, its part of the control plane, and a lock so that one process uses it"},
		{name: "zone", placeholder: "ZONE", help: "copies of a partition are put into different zones"},
		{name: "role", placeholder: "ROLE", value: roleData, help: "data, or witness: it votes, holds no data and has no door for clients"},
		{name: "profile", placeholder: "PROFILE", value: profileCache,
			help: "of a grid that is created: cache: 2 copies, survives any one crash; safe: 3, and no write is acknowledged\n" +
				"      that fewer than 2 nodes hold"},
		{name: "on-total-loss", placeholder: "WHAT", value: lossError,
			help: "of a grid that is created: what becomes of data without a copy left; error: commands get errors until a\n" +
				"      person decides; reset: go on empty"},
		{name: "partitions", placeholder: "N", value: strconv.Itoa(partitionsDefault),
			help: "of a grid that is created: parts the keys are spread over, a power of two up to 16384"},
		{name: "maxmemory", placeholder: "SIZE", value: "0", help: "memory for data, such as 100mb or 2gb; 0: no limit, as in Redis"},
		{name: "requirepass-file", placeholder: "FILE", help: "the first line of FILE is the password that clients must give"},
		{name: "secret-file", placeholder: "FILE", help: "FILE holds the secret that all nodes of the grid share"},
		{name: "io-loops", placeholder: "N", value: "0", help: "event loops; 0: one less than there are processors"},
		{name: "insecure", help: "let other machines connect without a password or a secret"},
		{name: debugFlag, placeholder: "WHO", value: "no", help: "who may use DEBUG: no, yes, or local: clients of this machine"},
		configFlag,
	},
	run: runServer,
}

// debugFlag is the name of CONFIG that is a flag as well.
const debugFlag = "enable-debug-command"

const (
	partitionsDefault = 256
	loopsMax          = 1024

	roleData, roleWitness     = "data", "witness"
	profileCache, profileSafe = "cache", "safe"
	lossError, lossReset      = "error", "reset"
	off                       = "off"
)

func runServer(env environment, in inputs) error {
	plan, err := serverPlan(in)
	if err != nil {
		return err
	}
	signals := watchSignals()
	plan.server.LogLevel = new(slog.LevelVar)
	addSettings(env, in, &plan.server)
	log, err := newLogger(env, plan.server.LogLevel)
	if err != nil {
		return err
	}
	stopProfiler, err := startProfiler(env, log)
	if err != nil {
		return err
	}
	defer stopProfiler()
	n, err := startNode(signals.first, plan, log)
	if err != nil && signals.first.Err() != nil {
		log.Info("stopped before it was ready")
		return nil
	}
	if err != nil {
		return explain(in, err)
	}
	n.logReady(plan.server)
	return n.run(signals, true)
}

// serverPlan turns the flags of neargrid server into a plan.
func serverPlan(in inputs) (plan nodePlan, err error) {
	plan.dataDir = in.text("data-dir")
	if plan.server, err = serverOptions(in); err != nil {
		return plan, err
	}
	peer, err := peerAddress(in)
	if err != nil {
		return plan, err
	}
	if peer == "" {
		for _, flag := range []string{"join", "create", "cluster-listen"} {
			if value := in.text(flag); value != "" && value != off {
				return plan, in.wrong(flag, "needs a peer port, and there is none: give --peer-listen")
			}
		}
		return plan, nil
	}
	if plan.server.ClusterListen, err = clusterAddress(in); err != nil {
		return plan, err
	}
	plan.grid, err = gridOf(in, peer, plan.server.Partitions)
	return plan, err
}

// serverOptions are those of the server that concern this node alone.
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
	o.RequirePass, err = password(in, "requirepass-file")
	return o, err
}

func listenAddress(in inputs) (string, error) {
	addr := in.text("listen")
	if addr == off {
		if in.text("unixsocket") == "" && in.text("role") != roleWitness {
			return "", in.wrong("listen", "needs --unixsocket, or clients have no way in")
		}
		return "", nil
	}
	if err := checkAddress(addr); err != nil {
		return "", in.wrong("listen", err.Error())
	}
	return addr, nil
}

// peerAddress is where peers connect; empty where the node is to stay alone.
func peerAddress(in inputs) (string, error) {
	return steppedAddress(in, "peer-listen", peerPortStep)
}

// clusterAddress is where the cluster door is; empty where there is to be none.
func clusterAddress(in inputs) (string, error) {
	return steppedAddress(in, "cluster-listen", clusterPortStep)
}

// steppedAddress is the address in a flag, which without a value follows from the grid door's.
func steppedAddress(in inputs, flag string, step int) (string, error) {
	switch addr, door := in.text(flag), in.text("listen"); {
	case addr == off, addr == "" && door == off:
		return "", nil
	case addr != "":
		if err := checkAddress(addr); err != nil {
			return "", in.wrong(flag, err.Error()+"; or off")
		}
		return addr, nil
	default:
		addr, ok := stepPort(door, step)
		if !ok {
			return "", in.wrong("listen", fmt.Sprintf("there is no port %d above it: give --%s as well", step, flag))
		}
		return addr, nil
	}
}

// gridOf turns the flags about the grid into a plan.
func gridOf(in inputs, peer string, partitions int) (*gridPlan, error) {
	g := &gridPlan{listen: peer, host: in.text("advertise"), zone: in.text("zone"), keys: cluster.NoSecret()}
	for _, addr := range strings.FieldsFunc(in.text("join"), func(r rune) bool { return r == ',' || r == ' ' }) {
		if err := checkAddress(addr); err != nil {
			return nil, in.wrong("join", strings.Replace(err.Error(), "127.0.0.1:6379", "10.0.0.1:16379,10.0.0.2:16379", 1))
		}
		g.join = append(g.join, addr)
	}
	if strings.ContainsAny(g.host, "/ ") || strings.Count(g.host, ":") == 1 {
		return nil, in.wrong("advertise", "write a host name or an IP address, without a port")
	}
	create, err := in.on("create")
	if err != nil {
		return nil, err
	}
	if g.insecure, err = in.on("insecure"); err != nil {
		return nil, err
	}
	settings, wants, err := gridSettings(in, partitions)
	if err != nil {
		return nil, err
	}
	g.wants = wants
	switch role := in.text("role"); {
	case role != roleData && role != roleWitness:
		return nil, in.wrong("role", "write data or witness")
	case role == roleWitness && (create || len(g.join) == 0):
		return nil, in.wrong("role", "a grid begins with a node that holds data: give --join without --create")
	case role == roleWitness:
		g.role = core.Witness
	case create || len(g.join) == 0:
		g.create = &settings
	}
	if g.secret = in.text("secret-file") != ""; g.secret {
		g.keys, err = secretKeys(in)
	}
	return g, err
}

// gridSettings are those of a grid that is created, and what was asked for by name.
func gridSettings(in inputs, partitions int) (s core.Settings, wants []wish, err error) {
	if s, wants, err = profileSettings(in); err != nil {
		return s, nil, err
	}
	s.Partitions = partitions
	switch in.text("on-total-loss") {
	case lossError:
	case lossReset:
		s.ResetLost = true
	default:
		return s, nil, in.wrong("on-total-loss", "write error or reset")
	}
	if in.given("on-total-loss") {
		wants = append(wants, wish{in.flags["on-total-loss"],
			func(o core.Settings) bool { return o.ResetLost == s.ResetLost },
			func(o core.Settings) string { return map[bool]string{false: lossError, true: lossReset}[o.ResetLost] }})
	}
	return s, wants, nil
}

// profileSettings are those that the profile decides.
func profileSettings(in inputs) (s core.Settings, wants []wish, err error) {
	switch in.text("profile") {
	case profileCache:
		s.Copies, s.MinISR = 2, 1
	case profileSafe:
		s.Copies, s.MinISR = 3, 2
	default:
		return s, nil, in.wrong("profile", "write cache or safe")
	}
	if in.given("profile") {
		wants = append(wants, wish{in.flags["profile"],
			func(o core.Settings) bool { return o.Copies == s.Copies && o.MinISR == s.MinISR },
			func(o core.Settings) string {
				return fmt.Sprintf("%d copies, of which %d must be in sync", o.Copies, o.MinISR)
			}})
	}
	return s, wants, nil
}

func secretKeys(in inputs) (*cluster.Keys, error) {
	content, err := os.ReadFile(in.text("secret-file"))
	if err != nil {
		return nil, usagef("cannot read the secret file: %v", err)
	}
	keys, err := cluster.NewKeys(content)
	if err != nil {
		return nil, in.wrong("secret-file", err.Error())
	}
	return keys, nil
}

// password is the first line of the file that a flag names; empty where it names none.
func password(in inputs, flag string) (string, error) {
	path := in.text(flag)
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

// addSettings takes over what is set by names of CONFIG: in the file, as a flag, and NEARGRID_LOG_LEVEL.
func addSettings(env environment, in inputs, o *server.Options) {
	if file := in.text(configFlag.name); file != "" {
		o.ConfigFile, _ = filepath.Abs(file)
	}
	if in.given(debugFlag) {
		o.Config = append(o.Config, [2]string{debugFlag, in.text(debugFlag)})
	}
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
		addr := in.text("listen")
		if server.IsLoopback(addr) {
			addr = in.text("cluster-listen")
		}
		return usagef("other machines could connect to %s without a password: set one with --requirepass-file, listen on 127.0.0.1, "+
			"or give --insecure", addr)
	}
	var setting *server.ConfigError
	if !errors.As(err, &setting) {
		return err
	}
	from := "NEARGRID_LOG_LEVEL"
	if in.given(setting.Name) {
		from = in.flags[setting.Name].from
	}
	for _, i := range in.config {
		if strings.EqualFold(i.name, setting.Name) {
			from = i.from
		}
	}
	return usagef("%s: %v", from, setting.Err)
}
