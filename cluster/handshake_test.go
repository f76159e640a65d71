package cluster

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

var (
	rightKeys = mustKeys("the right secret, long enough")
	wrongKeys = mustKeys("the wrong secret, long enough")
	gridOne   = [16]byte{1}
	gridTwo   = [16]byte{2}
)

func mustKeys(secret string) *Keys {
	k, err := NewKeys([]byte(secret))
	if err != nil {
		panic(err)
	}
	return k
}

// identity is a node of gridOne, named by a letter.
func identity(name string) Identity {
	return Identity{Grid: gridOne, Member: core.Member{Node: core.NodeID(name), Inc: core.Incarnation{name[0]}}, FeatureMin: 1, FeatureMax: 2}
}

func with(id Identity, change func(*Identity)) Identity {
	change(&id)
	return id
}

// memConns is a connection in memory.
func memConns() (dialer, accepter net.Conn) {
	at := func(port uint16) net.Addr {
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port))
	}
	p := newMemPair(NewMemNetwork(), at(1), at(2), memLink{}, memLink{})
	return &p.ends[0], &p.ends[1]
}

// shake does a handshake over c and d, which may be the two ends of one connection.
func shake(c, d net.Conn, dialer, accepter Identity, dialKeys, acceptKeys *Keys) (atDialer, atAccepter Identity, dialErr, acceptErr error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		acceptErr = acceptHandshake(d, accepter, acceptKeys, newNonce(), func(id Identity, kind StreamKind) error {
			if kind != Data {
				return ErrNotServed
			}
			atAccepter = id
			return nil
		})
		d.Close()
	}()
	atDialer, dialErr = dialHandshake(c, Data, dialer, dialKeys, newNonce())
	c.Close()
	<-done
	return
}

// TestHandshake has every pair of nodes that matters meet (R27: feature levels; R33: grids by name).
func TestHandshake(t *testing.T) {
	a, b := identity("a"), identity("b")
	joiner := with(a, func(id *Identity) { id.Grid = [16]byte{} })
	other := with(b, func(id *Identity) { id.Grid = gridTwo })
	levels := func(id Identity, from, to uint32) Identity {
		return with(id, func(id *Identity) { id.FeatureMin, id.FeatureMax = from, to })
	}
	for _, c := range []struct {
		name                 string
		dialer, accepter     Identity
		dialKeys, acceptKeys *Keys
		want                 error
		says                 string // in both sides' errors
	}{
		{"members of one grid", a, b, rightKeys, rightKeys, nil, ""},
		{"without a secret", a, b, NoSecret(), NoSecret(), nil, ""},
		{"a joiner", joiner, b, rightKeys, rightKeys, nil, ""},
		{"a member asks a joiner", b, joiner, rightKeys, rightKeys, nil, ""},
		{"two joiners", joiner, with(b, func(id *Identity) { id.Grid = [16]byte{} }), rightKeys, rightKeys, nil, ""},
		{"levels that touch", levels(a, 1, 3), levels(b, 3, 4), rightKeys, rightKeys, nil, ""},
		{"the same node, restarted", a, with(a, func(id *Identity) { id.Member.Inc = core.Incarnation{9} }), rightKeys, rightKeys, nil, ""},

		{"wrong secret", a, b, wrongKeys, rightKeys, ErrWrongSecret, ""},
		{"only the dialer has a secret", a, b, rightKeys, NoSecret(), ErrWrongSecret, ""},
		{"only the accepter has a secret", a, b, NoSecret(), rightKeys, ErrWrongSecret, ""},
		{"wrong secret and all else too", levels(a, 7, 7), other, wrongKeys, rightKeys, ErrWrongSecret, ""},
		{"another grid", a, other, rightKeys, rightKeys, ErrOtherGrid, "02000000000000000000000000000000"},
		{"too old", levels(a, 1, 2), levels(b, 3, 4), rightKeys, rightKeys, ErrVersion, "3 to 4"},
		{"too new", levels(a, 5, 6), levels(b, 3, 4), rightKeys, rightKeys, ErrVersion, "5 to 6"},
		{"itself", a, a, rightKeys, rightKeys, ErrSelf, "a/61000000"},
	} {
		synctest.Test(t, func(t *testing.T) {
			x, y := memConns()
			atDialer, atAccepter, dialErr, acceptErr := shake(x, y, c.dialer, c.accepter, c.dialKeys, c.acceptKeys)
			if !errors.Is(dialErr, c.want) || !errors.Is(acceptErr, c.want) {
				t.Errorf("%s: dialer got %v, accepter %v, want %v", c.name, dialErr, acceptErr, c.want)
			}
			if c.want == nil && (atDialer != c.accepter || atAccepter != c.dialer) {
				t.Errorf("%s: dialer met %+v, accepter %+v", c.name, atDialer, atAccepter)
			}
			if c.says != "" && (!strings.Contains(dialErr.Error(), c.says) || !strings.Contains(acceptErr.Error(), c.says)) {
				t.Errorf("%s: errors %q and %q, %q should be in both", c.name, dialErr, acceptErr, c.says)
			}
			if errors.Is(c.want, ErrWrongSecret) && (atDialer != Identity{} || atAccepter != Identity{}) {
				t.Errorf("%s: who lacks the secret has learnt %+v, %+v", c.name, atDialer, atAccepter)
			}
		})
	}
}

// TestHandshakeChanged changes every byte that either side sends, one at a time: never do both sides get through.
func TestHandshakeChanged(t *testing.T) {
	identitySize := len(appendIdentity(nil, identity("a")))
	sent := [2]int{helloHeadSize + nonceSize + identitySize + macSize, 1 + nonceSize + 3 + identitySize + macSize}
	synctest.Test(t, func(t *testing.T) {
		for side := range sent {
			for at := range sent[side] {
				dialer, left := memConns()
				right, accepter := memConns()
				var changed atomic.Bool
				go pump(right, left, func(b []byte, offset int) { changeByte(b, offset, at, side == 0, &changed) })
				go pump(left, right, func(b []byte, offset int) { changeByte(b, offset, at, side == 1, &changed) })
				timeout := time.AfterFunc(openTimeout, func() { left.Close(); right.Close() }) // a larger length makes one wait
				_, _, dialErr, acceptErr := shake(dialer, accepter, identity("a"), identity("b"), rightKeys, rightKeys)
				timeout.Stop()
				if dialErr == nil || side == 0 && acceptErr == nil || !changed.Load() {
					t.Fatalf("byte %d of side %d, changed %v: dialer got %v, accepter %v", at, side, changed.Load(), dialErr, acceptErr)
				}
			}
		}
	})
}

// pump copies src to dst until either ends; f sees the bytes and where in the stream they are.
func pump(dst, src net.Conn, f func(b []byte, offset int)) {
	defer dst.Close()
	buf := make([]byte, 1024)
	for offset := 0; ; {
		n, err := src.Read(buf)
		if err != nil {
			return
		}
		f(buf[:n], offset)
		offset += n
		if _, err := dst.Write(buf[:n]); err != nil {
			return
		}
	}
}

func changeByte(b []byte, offset, at int, wanted bool, changed *atomic.Bool) {
	if wanted && at >= offset && at < offset+len(b) {
		b[at-offset] ^= 1
		changed.Store(true)
	}
}

// TestHandshakeEndsEarly has the dialer send all prefixes of what it should, and hang up.
func TestHandshakeEndsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hello := appendHello(nil, Data, nonce{}, identity("a"))
		for n := range len(hello) + macSize {
			c, d := memConns()
			go func() {
				_, _ = c.Write(append(hello, make([]byte, macSize)...)[:n])
				c.Close()
			}()
			err := acceptHandshake(d, identity("b"), rightKeys, newNonce(), func(Identity, StreamKind) error { return nil })
			if !errors.Is(err, ErrHandshake) {
				t.Errorf("after %d bytes: %v", n, err)
			}
			d.Close()
		}
	})
}

// TestHandshakeReflected sends what a node has said back to it: the roles' MACs differ, and so do the nonces.
func TestHandshakeReflected(t *testing.T) {
	victim := identity("v")
	challenge := append([]byte{byte(statusOK)}, make([]byte, nonceSize)...)
	hello := appendHello(nil, Data, nonce{}, victim) // as long as the victim's
	proof := make([]byte, macSize)

	t.Run("a dialer's proof as the verdict's", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, d := memConns()
			go func() {
				mustRead(t, d, hello)
				d.Write(challenge)
				mustRead(t, d, proof)
				body := appendIdentity(nil, identity("x"))
				d.Write(append(append([]byte{byte(statusOK), byte(len(body)), 0}, body...), proof...))
				d.Close()
			}()
			if _, err := dialHandshake(c, Data, victim, rightKeys, newNonce()); !errors.Is(err, ErrWrongSecret) {
				t.Errorf("the victim got %v", err)
			}
			c.Close()
		})
	})

	// The attacker is dialled by its victim, and dials it: it passes the victim's challenge on to the victim itself.
	for name, c := range map[string]struct {
		own  bool // hello: the attacker's own; else the victim's
		want error
	}{
		"a proof for another's hello": {true, ErrWrongSecret},
		"all of it":                   {false, ErrSelf},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dialled, toDialled := memConns()
				dialling, toVictim := memConns()
				accepted := make(chan error, 1)
				go func() {
					accepted <- acceptHandshake(toVictim, victim, rightKeys, newNonce(), func(Identity, StreamKind) error { return nil })
					toVictim.Close()
				}()
				go func() {
					mustRead(t, toDialled, hello)
					sent := hello
					if c.own {
						sent = appendHello(nil, Data, nonce{}, identity("x"))
					}
					dialling.Write(sent)
					mustRead(t, dialling, challenge)
					toDialled.Write(challenge)
					mustRead(t, toDialled, proof)
					dialling.Write(proof)
					io.Copy(toDialled, dialling)
					toDialled.Close()
					dialling.Close()
				}()
				_, err := dialHandshake(dialled, Data, victim, rightKeys, newNonce())
				dialled.Close()
				if got := <-accepted; !errors.Is(got, c.want) || !errors.Is(err, c.want) {
					t.Errorf("the victim as accepter got %v, as dialer %v, want %v", got, err, c.want)
				}
			})
		})
	}

	t.Run("an old proof", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, d := memConns()
			go func() {
				c.Write(appendHello(nil, Data, nonce{}, identity("a")))
				mustRead(t, c, make([]byte, len(challenge)))
				c.Write(mac(&rightKeys.handshake, []byte("dialer"), appendHello(nil, Data, nonce{}, identity("a")), challenge))
				io.Copy(io.Discard, c)
				c.Close()
			}()
			err := acceptHandshake(d, identity("b"), rightKeys, newNonce(), func(Identity, StreamKind) error { return nil })
			d.Close()
			if !errors.Is(err, ErrWrongSecret) {
				t.Errorf("got %v", err)
			}
		})
	})
}

func mustRead(t *testing.T, c net.Conn, p []byte) {
	if _, err := io.ReadFull(c, p); err != nil {
		t.Error(err)
	}
}

// TestHandshakeLaterLevels meets a node that has more to say of itself, and one of another handshake.
func TestHandshakeLaterLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := memConns()
		body := append(appendIdentity(make([]byte, nonceSize), identity("a")), "a later field"...)
		hello := append(append([]byte{byte(Data)}, helloMagic...), handshakeVersion, byte(len(body)), 0)
		hello = append(hello, body...)
		go func() {
			c.Write(hello)
			challenge := make([]byte, 1+nonceSize)
			mustRead(t, c, challenge)
			c.Write(mac(&rightKeys.handshake, []byte("dialer"), hello, challenge))
			io.Copy(io.Discard, c)
			c.Close()
		}()
		var met Identity
		err := acceptHandshake(d, identity("b"), rightKeys, newNonce(), func(id Identity, _ StreamKind) error { met = id; return nil })
		if err != nil || met != identity("a") {
			t.Errorf("met %+v, %v", met, err)
		}
		d.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		c, d := memConns()
		go func() {
			mustRead(t, d, make([]byte, helloHeadSize))
			d.Write([]byte{byte(statusFormat)})
			d.Close()
		}()
		if _, err := dialHandshake(c, Data, identity("a"), rightKeys, newNonce()); !errors.Is(err, ErrVersion) {
			t.Errorf("dialer got %v", err)
		}
		c.Close()

		c, d = memConns()
		c.Write(append([]byte{byte(Data)}, helloMagic+"\x02\x00\x00"...))
		err := acceptHandshake(d, identity("b"), rightKeys, newNonce(), func(Identity, StreamKind) error { return nil })
		answer := make([]byte, 1)
		mustRead(t, c, answer)
		if !errors.Is(err, ErrVersion) || status(answer[0]) != statusFormat {
			t.Errorf("accepter got %v, answered %d", err, answer[0])
		}
	})
}

func TestKeys(t *testing.T) {
	if _, err := NewKeys([]byte("  too short   \n")); err == nil {
		t.Error("a secret of nine bytes was taken")
	}
	a, b := mustKeys("0123456789abcdef"), mustKeys("\t0123456789abcdef\r\n")
	if string(a.GossipKey()) != string(b.GossipKey()) || len(a.GossipKey()) != 32 {
		t.Errorf("white space counts: %x, %x", a.GossipKey(), b.GossipKey())
	}
	if a.handshake == a.packet || string(a.handshake[:]) == string(a.GossipKey()) || a.packet == rightKeys.packet {
		t.Error("keys for different uses, or of different secrets, are equal")
	}
	if NoSecret().GossipKey() != nil {
		t.Error("memberlist would encrypt with a key that everybody has")
	}
}

// FuzzHandshake has both sides read anything: without the secret nobody gets through, and nothing goes wrong.
func FuzzHandshake(f *testing.F) {
	f.Add(appendHello(nil, Data, nonce{}, identity("a")))
	f.Add(append([]byte{byte(Data)}, helloMagic+"\x01\xff\xff"...))
	f.Add(append(make([]byte, 1+nonceSize), "\x00\x29\x00"...))
	f.Add(rightKeys.Seal(nil, PacketBeacon, identity("b").Member, identity("a").Member, []byte("payload")))
	f.Fuzz(func(t *testing.T, in []byte) {
		admit := func(Identity, StreamKind) error { return nil }
		if err := acceptHandshake(scripted(in), identity("b"), rightKeys, nonce{}, admit); err == nil {
			t.Fatalf("%q was accepted", in)
		}
		if _, err := dialHandshake(scripted(in), Data, identity("a"), rightKeys, nonce{}); err == nil {
			t.Fatalf("%q was taken for a peer", in)
		}
		if id, err := parseIdentity(in); err == nil {
			again := string(appendIdentity(nil, id))
			if id.Generation == (Generation{}) && len(in) < len(again) {
				again = again[:len(again)-generationSize] // who knows of none sends none
			}
			if !strings.HasPrefix(string(in), again) {
				t.Fatalf("%q is read as %+v", in, id)
			}
		}
		_, _, _, _ = rightKeys.Open(in, identity("a").Member)
	})
}

// script is a connection whose other side says something fixed.
type script struct {
	net.Conn
	in *[]byte
}

func scripted(in []byte) net.Conn { return script{in: &in} }

func (s script) Read(p []byte) (int, error) {
	if len(*s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, *s.in)
	*s.in = (*s.in)[n:]
	return n, nil
}

func (s script) Write(p []byte) (int, error) { return len(p), nil }
