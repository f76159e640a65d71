package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
)

// shortCommands is what every test run does, from one seed: a difference it finds was made by the change under test.
// `make differential` does a million and more, from a new seed each time.
const (
	shortCommands = 60_000
	shortSeed     = 20260711
)

// TestDifferential compares random commands on ours and on a real redis-server.
func TestDifferential(t *testing.T) {
	o := options{seed: shortSeed, commands: shortCommands, failures: 3, bound: 80 * time.Second}
	if raceEnabled || testing.Short() {
		o.commands /= 6
	}
	o.addrB = testredis.Start(t).Addr
	ours := testredis.StartNeargrid(t)
	o.addrA = ours.Addr
	t.Cleanup(testredis.RemoveBinary)
	var out bytes.Buffer
	rep, err := run(o, &out)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, &out, ours.Output())
	}
	rep.print(&out, false)
	if rep.failed() {
		t.Errorf("%s", &out)
	}
	if rep.differences == 0 && rep.commands < o.commands/2 {
		t.Errorf("%d of %d commands in %v: that says too little", rep.commands, o.commands, o.bound)
	}
	t.Logf("%d commands, seed %d", rep.commands, rep.seed)
}

// TestRedisAgreesWithItself: what the comparison calls a difference must not be one between two redis-servers.
func TestRedisAgreesWithItself(t *testing.T) {
	o := options{seed: shortSeed, commands: 10_000, failures: 1}
	o.addrA, o.addrB = testredis.Start(t).Addr, testredis.Start(t).Addr
	var out bytes.Buffer
	rep, err := run(o, &out)
	if err != nil {
		t.Fatal(err)
	}
	if rep.differences > 0 {
		t.Errorf("two redis-servers differ:\n%s", &out)
	}
}

// TestFindsPlantedBug alters one kind of reply on its way: the difference must be found and its history be small.
func TestFindsPlantedBug(t *testing.T) {
	redis := testredis.Start(t)
	for _, bug := range []struct {
		name    string
		request string
		alter   func(reply string) string
		lines   int // at most so many commands in the transcript
	}{
		{"wrong count", "LLEN", func(reply string) string { return strings.Replace(reply, ":3\r", ":4\r", 1) }, 4},
		{"nil of the wrong protocol", "HGET", func(reply string) string { return strings.Replace(reply, "$-1\r\n", "_\r\n", 1) }, 2},
		{"wrong error text", "INCRBY", func(reply string) string { return strings.Replace(reply, "out of range", "too big", 1) }, 3},
		{"lost write", "RENAMENX", nil, 4},
	} {
		t.Run(bug.name, func(t *testing.T) {
			o := options{seed: 1, commands: 60_000, failures: 1, addrB: testredis.Start(t).Addr}
			o.addrA = tamper(t, redis.Addr, bug.request, bug.alter)
			var out bytes.Buffer
			rep, err := run(o, &out)
			if err != nil {
				t.Fatal(err)
			}
			if rep.differences != 1 {
				t.Fatalf("%d differences, want 1\n%s", rep.differences, &out)
			}
			commands := regexp.MustCompile(`(?m)^(\[\w+\] )?>`).FindAllString(out.String(), -1)
			if len(commands) > bug.lines {
				t.Errorf("the history has %d commands, want at most %d:\n%s", len(commands), bug.lines, &out)
			}
		})
	}
}

// tamper is a proxy that alters the replies to one command; without alter it keeps the command to itself and
// answers 1.
func tamper(t *testing.T, addr, request string, alter func(string) string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", addr)
			if err != nil {
				client.Close()
				return
			}
			go tamperOne(client, server, request, alter)
		}
	}()
	return l.Addr().String()
}

// tamperOne serves one connection: requests are whole arrays of bulks, one at a time, as the pair sends them.
func tamperOne(client, server net.Conn, request string, alter func(string) string) {
	defer client.Close()
	defer server.Close()
	requests := bufio.NewReader(client)
	var reply bytes.Buffer
	replies := bufio.NewReader(io.TeeReader(server, &reply))
	for {
		v, err := testredis.Read(requests)
		if err != nil || len(v.Elems) == 0 {
			return
		}
		hit := strings.EqualFold(v.Elems[0].Text, request)
		if hit && alter == nil && len(v.Elems) == 3 {
			io.WriteString(client, ":1\r\n")
			continue
		}
		io.WriteString(server, encode(v.Strings()))
		reply.Reset()
		if _, err := testredis.Read(replies); err != nil {
			return
		}
		text := reply.String()
		if hit && alter != nil {
			text = alter(text)
		}
		io.WriteString(client, text)
	}
}

func encode(args []string) string {
	var b strings.Builder
	b.WriteString("*" + strconv.Itoa(len(args)) + "\r\n")
	for _, arg := range args {
		b.WriteString("$" + strconv.Itoa(len(arg)) + "\r\n" + arg + "\r\n")
	}
	return b.String()
}
