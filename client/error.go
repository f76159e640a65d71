package client

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNil is what typed methods return where there is no value: no such key, field or member. It is a reply, not a failure.
var ErrNil = errors.New("neargrid: no value")

// ErrClosed is what a command gets of a client that has been closed.
var ErrClosed = errors.New("neargrid: the client is closed")

// ErrCrossSlot says that the keys of a transaction, or of one command, are not in one slot. Keys with the same {tag} are.
var ErrCrossSlot = errors.New("neargrid: the keys are not in one slot; what is in {braces} alone counts: give them one such hash tag")

// ServerError is an error that a node replied with.
type ServerError struct {
	Node string // address of the node
	Code string // its first word, such as "WRONGTYPE"
	Text string // all of it
}

func (e *ServerError) Error() string {
	return "neargrid: node " + e.Node + ": " + e.Text + advice(e.Code)
}

// IsCode tells whether an error is, or wraps, a ServerError with this code.
func IsCode(err error, code string) bool {
	var e *ServerError
	return errors.As(err, &e) && e.Code == code
}

// NotExecuted tells whether err says for certain that the command was not executed by any node, so that it can be tried again whatever
// it does.
func NotExecuted(err error) bool {
	if IsIndeterminate(err) {
		return false
	}
	var conn *ConnError
	if errors.As(err, &conn) && !conn.Sent {
		return true
	}
	var e *ServerError
	return errors.As(err, &e) && notExecuted(e.Code, e.Text)
}

// ConnError is a connection that could not be made, or was lost.
type ConnError struct {
	Node string // address of the node
	Op   string // what was under way: "connect", "handshake", "send", "read"
	Sent bool   // the command was, in part at least, sent
	Err  error
}

func (e *ConnError) Error() string {
	return "neargrid: node " + e.Node + ": " + e.Op + ": " + e.Err.Error() + connAdvice(e)
}

func (e *ConnError) Unwrap() error { return e.Err }

// IndeterminateError says that a command which may change data was sent, and that nobody knows whether it was executed: its
// connection was lost, its context ended, or the node says so (-INDETERMINATE). Look at the data before trying again, or write such
// commands so that repeating them does no harm.
type IndeterminateError struct {
	Node    string // address of the node that it was sent to
	Command string // its name
	Err     error  // why nothing is known: a *ConnError, *ServerError or the context's error
}

func (e *IndeterminateError) Error() string {
	return fmt.Sprintf("neargrid: node %s: %s was sent and may or may not have been executed: %v", e.Node, e.Command, e.Err)
}

func (e *IndeterminateError) Unwrap() error { return e.Err }

// IsIndeterminate tells whether err is, or wraps, an IndeterminateError.
func IsIndeterminate(err error) bool {
	var e *IndeterminateError
	return errors.As(err, &e)
}

// GaveUpError ends the attempts at a command that was not executed. It wraps the last attempt's error.
type GaveUpError struct {
	Attempts int
	Reason   string
	Err      error
}

func (e *GaveUpError) Error() string {
	return fmt.Sprintf("%v (given up after %d attempts: %s)", e.Err, e.Attempts, e.Reason)
}

func (e *GaveUpError) Unwrap() error { return e.Err }

// TypeError says that a reply is not of the type that was asked for.
type TypeError struct {
	Want string
	Got  string
}

func (e *TypeError) Error() string { return "neargrid: the reply is " + e.Got + ", not " + e.Want }

// serverError makes an error of a node's reply.
func serverError(node string, text []byte) *ServerError {
	all := string(text)
	code, _, _ := strings.Cut(all, " ")
	return &ServerError{Node: node, Code: code, Text: all}
}

// notExecuted tells whether a server that answers so has not executed the command. The codes are those of rule R14 of
// docs/REPLICATION.md, and Redis's own of the same meaning. What a script got from a command inside it begins with the same words,
// when other commands of the script may have been executed: Redis says so behind "script:".
func notExecuted(code, text string) bool {
	switch code {
	case "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS", "LOADING", "MASTERDOWN", "BUSY", "READONLY":
		return !strings.Contains(text, " script: ")
	}
	return false
}

// advice says what a person can do about an error of this code.
func advice(code string) string {
	switch code {
	case "NOAUTH", "WRONGPASS":
		return " (check Options.Username and Options.Password)"
	case "NOPERM":
		return " (the user of Options.Username may not do this)"
	case "CROSSSLOT":
		return " (give the keys one {hash tag}, or use one command for each)"
	case "CLUSTERDOWN", "NOREPLICAS":
		return " (nothing was executed; 'neargrid status' shows what is missing)"
	case "TRYAGAIN", "LOADING":
		return " (nothing was executed; try again)"
	case "OOM":
		return " (raise the node's maxmemory or set an eviction policy)"
	}
	return ""
}

func connAdvice(e *ConnError) string {
	switch {
	case e.Sent:
		return " (the command was sent)"
	case e.Op == "connect":
		return " (nothing was sent; check the address and that the node runs)"
	}
	return " (nothing was sent)"
}
