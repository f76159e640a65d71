package client

import (
	"context"
	"strconv"
	"time"
)

// The helpers of the typed methods: a command, and its reply as one type.

func (c *Client) text(ctx context.Context, args ...string) (string, error) {
	r, err := c.Do(ctx, args...)
	if err != nil {
		return "", err
	}
	return r.Text()
}

func (c *Client) integer(ctx context.Context, args ...string) (int64, error) {
	r, err := c.Do(ctx, args...)
	if err != nil {
		return 0, err
	}
	return r.Int()
}

func (c *Client) truth(ctx context.Context, args ...string) (bool, error) {
	r, err := c.Do(ctx, args...)
	if err != nil {
		return false, err
	}
	return r.Bool()
}

func (c *Client) float(ctx context.Context, args ...string) (float64, error) {
	r, err := c.Do(ctx, args...)
	if err != nil {
		return 0, err
	}
	return r.Float()
}

func (c *Client) texts(ctx context.Context, args ...string) ([]string, error) {
	r, err := c.Do(ctx, args...)
	if err != nil {
		return nil, err
	}
	return r.Strings()
}

func (c *Client) okay(ctx context.Context, args ...string) error {
	_, err := c.Do(ctx, args...)
	return err
}

// Optional is a value that may not be there, in lists of them.
type Optional struct {
	Value string
	OK    bool
}

func (c *Client) optionals(ctx context.Context, args ...string) ([]Optional, error) {
	r, err := c.Do(ctx, args...)
	if err != nil {
		return nil, err
	}
	if !r.aggregate() {
		return nil, r.mismatch("an array")
	}
	values := make([]Optional, len(r.v.Elems))
	for i, e := range r.v.Elems {
		text, err := Reply{e}.Text()
		switch {
		case err == nil:
			values[i] = Optional{text, true}
		case err != ErrNil:
			return nil, err
		}
	}
	return values, nil
}

// with is a command line of fixed words and a list.
func with(list []string, words ...string) []string {
	return append(words[:len(words):len(words)], list...)
}

// appendPairs appends the pairs of a map to a command line.
func appendPairs(line []string, pairs map[string]string) []string {
	for k, v := range pairs {
		line = append(line, k, v)
	}
	return line
}

func ftoa(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func itoa64(n int64) string { return strconv.FormatInt(n, 10) }

// milliseconds is a time as commands take it, rounded up: a time above 0 is never 0, which is refused or means for ever.
func milliseconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Millisecond-1)/time.Millisecond), 10)
}
