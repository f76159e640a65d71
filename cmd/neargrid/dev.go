package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"

	"github.com/neargrid/neargrid/server"
)

var devCommand = command{
	name:    "dev",
	summary: "starts a node to try things on, and prints how to connect",
	about: "neargrid dev starts a node on this machine and prints how to connect to it.\n" +
		"Its data is gone when it stops.",
	flags: []flagSpec{
		{name: "nodes", placeholder: "N", value: "1", help: "how many nodes; more than one is not there yet"},
		{name: "port", placeholder: "PORT", value: "6379", help: "where clients connect, at 127.0.0.1; 0: any free port"},
		{name: "data-dir", placeholder: "DIR", help: "keeps the node's id in DIR; without it in a directory that is removed at exit"},
		configFlag,
		{name: "profile", placeholder: "PROFILE", later: true},
	},
	run: runDev,
}

func runDev(env environment, in inputs) error {
	if in.text("nodes") != "1" {
		return in.wrong("nodes", "grids of several nodes are not there yet: leave it at 1")
	}
	port, err := in.number("port", 0, portMax)
	if err != nil {
		return err
	}
	dir := in.text("data-dir")
	if dir == "" {
		if dir, err = os.MkdirTemp("", "neargrid-dev-"); err != nil {
			return fmt.Errorf("cannot make a temporary directory (choose one with --data-dir): %w", err)
		}
		defer os.RemoveAll(dir)
	}
	options := server.Options{
		Listen:     net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Partitions: partitionsDefault,
		LogLevel:   new(slog.LevelVar),
	}
	options.LogLevel.Set(slog.LevelWarn) // what matters here is on standard output
	err = runNode(env, in, options, dir, func(addr string) { printHowToConnect(env, addr) })
	if errors.Is(err, server.ErrAddrInUse) {
		return fmt.Errorf("port %d is in use: stop the program that has it, or choose another with --port", port)
	}
	return err
}

func printHowToConnect(env environment, addr string) {
	_, port, _ := net.SplitHostPort(addr)
	fmt.Fprintf(env.stdout, `neargrid is running at %[1]s. Connect with any Redis client:

  shell    redis-cli -p %[2]s
  Go       redis.NewClient(&redis.Options{Addr: "%[1]s"})     github.com/redis/go-redis/v9
  Python   redis.Redis(port=%[2]s)                                 pip install redis

Ctrl-C stops it.
`, addr, port)
}
