package cluster

import (
	"bytes"
	"encoding/binary"
	"io"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

// dialForward opens a Forward stream as a's forwarder does, for the test to write on.
func dialForward(t *testing.T, a, b *forwardNode) *Conn {
	t.Helper()
	c, err := a.transport.Dial(t.Context(), b.transport.Addr().String(), Forward)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func commandFrame(id uint64, args ...[]byte) []byte {
	c := Forwarded{Timeout: time.Second, Args: args}
	return appendFrames(nil, messageKind(forwardCommand), appendForwarded(nil, id, &c))
}

// forwardFrame is one frame of a Forward stream.
func forwardFrame(kind forwardMessage, flags uint16, payload []byte) []byte {
	return protocol.AppendFrame(nil, protocol.Frame{Type: uint8(kind), Flags: flags, Payload: payload})
}

// TestForwardMalformed: what is not as it should be ends the stream, and what came before it was executed.
func TestForwardMalformed(t *testing.T) {
	command := appendForwarded(nil, 1, &Forwarded{Args: [][]byte{[]byte("x")}})
	changed := func(at int, b byte) []byte {
		c := bytes.Clone(command)
		c[at] = b
		return c
	}
	for name, frames := range map[string][]byte{
		"garbage":        []byte("GET / HTTP/1.1\r\n\r\n"),
		"unknown kind":   forwardFrame(3, 0, command),
		"answer":         forwardFrame(forwardAnswer, 0, appendAnswer(nil, 1, &Answer{})),
		"empty":          forwardFrame(forwardCommand, 0, nil),
		"cut":            forwardFrame(forwardCommand, 0, command[:len(command)-1]),
		"too long":       forwardFrame(forwardCommand, 0, append(bytes.Clone(command), 0)),
		"kind":           forwardFrame(forwardCommand, 0, changed(8, byte(forwardKinds))),
		"many arguments": forwardFrame(forwardCommand, 0, binary.AppendUvarint(bytes.Clone(command[:len(command)-3]), 1<<62)),
		"long argument":  forwardFrame(forwardCommand, 0, binary.AppendUvarint(bytes.Clone(command[:len(command)-2]), 1<<62)),
		"many, of none":  forwardFrame(forwardCommand, manyMessages, nil),
		"many, cut":      forwardFrame(forwardCommand, manyMessages, append([]byte{byte(len(command)) + 1, 0}, command...)),
		"mixed": append(forwardFrame(forwardCommand, moreFollows, command),
			forwardFrame(forwardAnswer, 0, command)...),
	} {
		t.Run(name, func(t *testing.T) {
			onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
				c := dialForward(t, a, b)
				if _, err := c.Write(append(commandFrame(1, []byte("good")), frames...)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, c); err != nil {
					t.Errorf("read: %v", err)
				}
				synctest.Wait()
				expect(t, "executed", b.executor.executed(), "good gone")
				if from := b.executor.gone[0]; from != a.self {
					t.Errorf("%v is gone, not %v", from, a.self)
				}
			})
		})
	}
}

// TestForwardMalformedAnswers: the same of what answers.
func TestForwardMalformedAnswers(t *testing.T) {
	for name, answer := range map[string]func(id uint64) []byte{
		"garbage":      func(uint64) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n") },
		"unknown kind": func(id uint64) []byte { return forwardFrame(3, 0, appendAnswer(nil, id, &Answer{})) },
		"command":      func(id uint64) []byte { return commandFrame(id, []byte("x")) },
		"cut": func(id uint64) []byte {
			return forwardFrame(forwardAnswer, 0, binary.LittleEndian.AppendUint64(nil, id))
		},
		"outcome": func(id uint64) []byte {
			return forwardFrame(forwardAnswer, 0, append(binary.LittleEndian.AppendUint64(nil, id), 3))
		},
		"too long": func(id uint64) []byte {
			return forwardFrame(forwardAnswer, 0, append(appendAnswer(nil, id, &Answer{Outcome: NotExecuted}), 0))
		},
		"not sent yet": func(id uint64) []byte {
			return forwardFrame(forwardAnswer, 0, appendAnswer(nil, id+1<<forwardSlotBits, &Answer{}))
		},
		"no such slot": func(id uint64) []byte { return forwardFrame(forwardAnswer, 0, appendAnswer(nil, id+1, &Answer{})) },
	} {
		t.Run(name, func(t *testing.T) {
			onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
				b.transport.stopKind(Forward)
				streams := 0
				b.transport.Handle(Forward, func(c *Conn) {
					defer c.Close()
					streams++
					in := newStreamReader(c)
					for {
						_, message, err := in.next()
						if err != nil {
							return
						}
						id := binary.LittleEndian.Uint64(message)
						if bytes.HasSuffix(message, []byte("good")) {
							_, _ = c.Write(forwardFrame(forwardAnswer, 0, appendAnswer(nil, id, &Answer{Reply: []byte("yes")})))
							continue
						}
						_, _ = c.Write(answer(id))
					}
				})
				expect(t, "before", a.ask("good", time.Minute).end(), "executed yes")
				expect(t, "answered so", a.ask("bad", time.Minute).end(), "unknown")
				expect(t, "after", a.ask("good", time.Minute).end(), "executed yes")
				if streams != 2 {
					t.Errorf("%d streams", streams)
				}
			})
		})
	}
}

// TestForwardOlderStream: what is left of a peer's older stream is not executed among what comes on its next.
func TestForwardOlderStream(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		release := make(chan struct{})
		b.executor.answers(func(f *Forwarded, answer func(Answer)) {
			if string(f.Args[0]) == "slow" {
				<-release
			}
			answer(Answer{})
		})
		older := dialForward(t, a, b)
		if _, err := older.Write(append(commandFrame(1, []byte("slow")), commandFrame(2, []byte("rest"))...)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		newer := dialForward(t, a, b)
		if _, err := newer.Write(commandFrame(1, []byte("new"))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		expect(t, "while one is being executed", b.executor.executed(), "slow")
		close(release)
		synctest.Wait()
		expect(t, "executed", b.executor.executed(), "slow gone new")
	})
}

// TestForwardAnswersNotTaken: a peer that takes no answers loses its stream, and nobody waits for it.
func TestForwardAnswersNotTaken(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		reply := make([]byte, 1<<20)
		b.executor.answers(func(_ *Forwarded, answer func(Answer)) { answer(Answer{Reply: reply}) })
		c := dialForward(t, a, b)
		began := time.Now()
		for id := range uint64(2 * forwardOutMax / len(reply)) {
			if _, err := c.Write(commandFrame(id, []byte("x"))); err != nil {
				break
			}
			synctest.Wait()
		}
		b.executor.mu.Lock()
		defer b.executor.mu.Unlock()
		if got := len(b.executor.log); b.executor.log[got-1] != "gone" || got > forwardOutMax/len(reply)+3 {
			t.Errorf("%d were executed, the last is %s", got, b.executor.log[got-1])
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("somebody waited for %v", took)
		}
	})
}

// TestForwardHeld: a peer whose commands are not answered cannot fill the memory with them.
func TestForwardHeld(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		b.executor.answers(func(*Forwarded, func(Answer)) {})
		c := dialForward(t, a, b)
		frame := commandFrame(1, []byte("x"), make([]byte, 4<<20))
		count := 0
		for ; count < 2*forwardHeldMax/len(frame); count++ {
			if _, err := c.Write(frame); err != nil {
				break
			}
		}
		synctest.Wait()
		b.executor.mu.Lock()
		defer b.executor.mu.Unlock()
		if got := len(b.executor.log) - 1; got != forwardHeldMax/len(frame) {
			t.Errorf("%d are held", got)
		}
	})
}

// TestForwardServedTwice: an executor that answers again does not answer another command.
func TestForwardServedTwice(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		var first func(Answer)
		b.executor.answers(func(f *Forwarded, answer func(Answer)) {
			if first == nil {
				first = answer
				answer(Answer{Reply: []byte("one")})
			}
		})
		expect(t, "one", a.ask("one", time.Second).end(), "executed one")
		two := a.ask("two", time.Second) // in the memory that was the first one's
		synctest.Wait()
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the second answer was taken")
				}
			}()
			first(Answer{Reply: []byte("one")})
		}()
		expect(t, "two", two.end(), "unknown")
	})
}

// FuzzForwardMessage reads any bytes as a stream of frames and as messages: what can be read is encoded as it was read.
func FuzzForwardMessage(f *testing.F) {
	f.Add(commandFrame(7, []byte("GET"), []byte("key")))
	f.Add(forwardFrame(forwardAnswer, 0, appendAnswer(nil, 1, &Answer{Outcome: NotExecuted, Version: 3})))
	f.Add(append(forwardFrame(forwardCommand, moreFollows, make([]byte, 20)), forwardFrame(forwardCommand, 0, nil)...))
	f.Add(appendForwarded(nil, 1, &Forwarded{Partition: -1, First: true, Args: [][]byte{{}}}))
	f.Add(appendAnswer(nil, 1, &Answer{Reply: []byte("OK")}))
	f.Add(forwardFrame(forwardAnswer, manyMessages, append([]byte{11, 0}, appendAnswer(nil, 1, &Answer{Reply: []byte("OK")})...)))
	f.Fuzz(func(t *testing.T, b []byte) {
		eachMessage(b, func(message []byte) { checkForwardMessage(t, message) })
	})
}

func checkForwardMessage(t *testing.T, b []byte) {
	var c, again Forwarded
	if id, err := decodeForwarded(b, &c); err == nil {
		if cap(c.Args) > 2*len(b)+8 {
			t.Errorf("room for %d arguments, of %d bytes", cap(c.Args), len(b))
		}
		encoded := appendForwarded(nil, id, &c)
		if len(encoded) > forwardSizeMax(&c) {
			t.Errorf("%d bytes, and at most %d were said", len(encoded), forwardSizeMax(&c))
		}
		if idAgain, err := decodeForwarded(encoded, &again); err != nil || idAgain != id || !reflect.DeepEqual(c, again) {
			t.Errorf("%d %+v\nbecame %d %+v: %v", id, c, idAgain, again, err)
		}
	}
	if id, a, err := decodeAnswer(b); err == nil {
		idAgain, again, err := decodeAnswer(appendAnswer(nil, id, &a))
		if err != nil || idAgain != id || !reflect.DeepEqual(a, again) {
			t.Errorf("%d %+v\nbecame %d %+v: %v", id, a, idAgain, again, err)
		}
	}
}
