package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/neargrid/neargrid/cluster"
	"github.com/neargrid/neargrid/protocol"
)

// addrFlag and passwordFlag are those of commands that ask a node.
var (
	addrFlag     = flagSpec{name: "addr", placeholder: "HOST:PORT", value: "127.0.0.1:6379", help: "a node of the grid, where clients connect"}
	passwordFlag = flagSpec{name: "password-file", placeholder: "FILE", help: "the first line of FILE is the password that clients must give"}
)

// askTimeout bounds one question to a node. It has adminTimeout for it.
const askTimeout = adminTimeout + 2*time.Second

// asker asks nodes as a client does. Each question has a connection of its own: they are few.
type asker struct {
	addr     string
	password string
	patience time.Duration // for one question; 0: askTimeout
}

func newAsker(in inputs) (a asker, err error) {
	a.addr = in.text("addr")
	if err := checkAddress(a.addr); err != nil {
		return a, in.wrong("addr", err.Error())
	}
	a.password, err = password(in, passwordFlag.name)
	return a, err
}

// refusedError: the node has answered with an error.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

// ask sends a command and returns its reply's text.
func (a asker) ask(ctx context.Context, words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(a.patience, askTimeout))
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", a.addr)
	if err != nil {
		return "", fmt.Errorf("cannot reach %s (name a node with --addr): %w", a.addr, plainPortError(err))
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	commands := [][]string{words}
	if a.password != "" {
		commands = [][]string{{"AUTH", a.password}, words}
	}
	replies := protocol.NewDecoder(conn)
	text := ""
	for _, c := range commands {
		if _, err := conn.Write(requestOf(c)); err != nil {
			return "", fmt.Errorf("ask %s: %w", a.addr, err)
		}
		reply, err := replies.Decode()
		switch {
		case err != nil && ctx.Err() != nil:
			return "", fmt.Errorf("ask %s: no answer: %w", a.addr, ctx.Err())
		case err != nil:
			return "", fmt.Errorf("ask %s: %w", a.addr, err)
		case reply.IsError():
			return "", fmt.Errorf("%s: %w", a.addr, &refusedError{string(reply.Str)})
		}
		text = string(reply.Str)
	}
	return text, nil
}

func requestOf(words []string) []byte {
	var w protocol.Writer
	w.Array(len(words))
	for _, word := range words {
		w.BulkString(word)
	}
	return w.Buf
}

// status asks for the grid as the node knows it.
func (a asker) status(ctx context.Context) (s cluster.Status, err error) {
	text, err := a.ask(ctx, "GRID.STATUS")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("%s: the answer is not understood: %w", a.addr, err)
	}
	return s, nil
}

// isRefusal tells whether a node has answered, and would again in the same way.
func isRefusal(err error) bool {
	var refused *refusedError
	return errors.As(err, &refused)
}
