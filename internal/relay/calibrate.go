package relay

import (
	"errors"
	"io"
	"net"
	"slices"
	"time"
)

const (
	calibrateTries = 6
	calibrateTo    = 5 * time.Microsecond // of what is wanted
)

// Calibrate sets the delay with which the relay adds so much to a round trip, and returns what it adds as measured: the median of PINGs
// through it, less that of PINGs straight to the target. Where the relay itself takes longer than is wanted there is no delay.
func (r *Relay) Calibrate(wanted time.Duration, pings int) (added time.Duration, err error) {
	straight, err := RoundTrip(r.target, pings)
	if err != nil {
		return 0, err
	}
	r.SetDelay(wanted / 3)
	for range calibrateTries {
		through, err := RoundTrip(r.Addr(), pings)
		if err != nil {
			return 0, err
		}
		added = through - straight
		off := wanted - added
		if off.Abs() <= calibrateTo || off < 0 && r.Delay() == 0 {
			break
		}
		r.SetDelay(max(0, r.Delay()+off/2))
	}
	through, err := RoundTrip(r.Addr(), pings)
	return through - straight, err
}

var errEcho = errors.New("the reply is not the one to PING")

// RoundTrip is the median time of so many PINGs at an address, one after the other, on one connection.
func RoundTrip(addr string, count int) (time.Duration, error) {
	conn, err := net.DialTimeout("tcp", addr, dialTimeout)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	times := make([]time.Duration, count)
	var reply [len("+PONG\r\n")]byte
	for i := range times {
		start := time.Now()
		if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(conn, reply[:]); err != nil {
			return 0, err
		}
		if string(reply[:]) != "+PONG\r\n" {
			return 0, errEcho
		}
		times[i] = time.Since(start)
	}
	return median(times), nil
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
