package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/redcon"
)

const (
	loadBatch      = 512             // commands written before their replies are read
	replyTimeout   = 2 * time.Minute // for one batch, or one command
	replyBufBytes  = 4 << 10
	bulkSizeMax    = 1 << 20 // of a reply
	loadBatchBytes = 64 << 10
)

// plainConn is one plain connection that sends prepared commands and reads their replies in order.
type plainConn struct {
	conn    net.Conn
	replies *bufio.Reader
}

func dial(addr string) (*plainConn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &plainConn{conn: conn, replies: bufio.NewReaderSize(conn, replyBufBytes)}, nil
}

func (c *plainConn) close() { c.conn.Close() }

// load sends count commands over one connection, pipelined; each must succeed. next appends command i to dst.
func (s *server) load(count int, next func(dst []byte, i int) []byte) error {
	c, err := dial(s.addr)
	if err != nil {
		return err
	}
	defer c.close()
	buf := make([]byte, 0, loadBatchBytes)
	for first := 0; first < count; first += loadBatch {
		end := min(first+loadBatch, count)
		buf = buf[:0]
		for i := first; i < end; i++ {
			buf = next(buf, i)
		}
		if err := c.exchange(buf, end-first); err != nil {
			return fmt.Errorf("%s: load, commands %d to %d: %w%s", s.name, first, end-1, err, s.logTail())
		}
	}
	return nil
}

// do sends one command and drops its reply, which must not be an error.
func (s *server) do(args ...string) error {
	_, err := s.ask(args...)
	return err
}

// ask sends one command over a connection of its own and answers a simple string, number or bulk string.
func (s *server) ask(args ...string) (string, error) {
	c, err := dial(s.addr)
	if err != nil {
		return "", err
	}
	defer c.close()
	if err := c.send(appendCommand(nil, args...)); err != nil {
		return "", fmt.Errorf("%s: %s: %w", s.name, args[0], err)
	}
	reply, err := readReply(c.replies)
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", s.name, args[0], err)
	}
	return string(reply), nil
}

func (c *plainConn) exchange(commands []byte, count int) error {
	if err := c.send(commands); err != nil {
		return err
	}
	for range count {
		if _, err := readReply(c.replies); err != nil {
			return err
		}
	}
	return nil
}

func (c *plainConn) send(commands []byte) error {
	if err := c.conn.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return err
	}
	_, err := c.conn.Write(commands)
	return err
}

// readReply reads one reply: a simple string, number or bulk string; nil for a null. An error reply is an error. The
// bytes are the reader's, valid until it is read again.
func readReply(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	line = bytes.TrimSuffix(line, []byte("\r\n"))
	if len(line) == 0 {
		return nil, errors.New("an empty reply line")
	}
	switch line[0] {
	case '+', ':':
		return line[1:], nil
	case '-':
		return nil, fmt.Errorf("server answered %q", line)
	case '$':
		size, err := strconv.Atoi(string(line[1:]))
		if err != nil || size > bulkSizeMax {
			return nil, fmt.Errorf("bulk length %q", line)
		}
		if size < 0 {
			return nil, nil
		}
		return readBulk(r, size)
	}
	return nil, fmt.Errorf("unexpected reply %q", line)
}

func readBulk(r *bufio.Reader, size int) ([]byte, error) {
	if size+len("\r\n") > r.Size() {
		bulk := make([]byte, size+len("\r\n"))
		_, err := io.ReadFull(r, bulk)
		return bulk[:size], err
	}
	bulk, err := r.Peek(size + len("\r\n"))
	if err != nil {
		return nil, err
	}
	_, err = r.Discard(len(bulk))
	return bulk[:size], err
}

func appendCommand(dst []byte, args ...string) []byte {
	dst = redcon.AppendArray(dst, len(args))
	for _, arg := range args {
		dst = redcon.AppendBulkString(dst, arg)
	}
	return dst
}

// info answers one numeric field of INFO.
func (s *server) info(field string) (int64, error) {
	text, err := s.ask("INFO")
	if err != nil {
		return 0, err
	}
	return parseInfo(text, field)
}

func parseInfo(text, field string) (int64, error) {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, field+":"); found {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("INFO has no field %s", field)
}
