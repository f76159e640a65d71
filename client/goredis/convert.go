package goredis

import (
	"encoding"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/neargrid/neargrid/client"
)

// words returns the arguments of a command as go-redis sends them, or false where there is one of a type that is not known here.
func words(args []any) ([]string, bool) {
	line := make([]string, len(args))
	for i, arg := range args {
		switch arg := arg.(type) {
		case nil:
		case string:
			line[i] = arg
		case []byte:
			line[i] = string(arg)
		case int:
			line[i] = strconv.Itoa(arg)
		case int8:
			line[i] = strconv.FormatInt(int64(arg), 10)
		case int16:
			line[i] = strconv.FormatInt(int64(arg), 10)
		case int32:
			line[i] = strconv.FormatInt(int64(arg), 10)
		case int64:
			line[i] = strconv.FormatInt(arg, 10)
		case uint:
			line[i] = strconv.FormatUint(uint64(arg), 10)
		case uint8:
			line[i] = strconv.FormatUint(uint64(arg), 10)
		case uint16:
			line[i] = strconv.FormatUint(uint64(arg), 10)
		case uint32:
			line[i] = strconv.FormatUint(uint64(arg), 10)
		case uint64:
			line[i] = strconv.FormatUint(arg, 10)
		case float32:
			line[i] = strconv.FormatFloat(float64(arg), 'f', -1, 64)
		case float64:
			line[i] = strconv.FormatFloat(arg, 'f', -1, 64)
		case bool:
			line[i] = "0"
			if arg {
				line[i] = "1"
			}
		case time.Time:
			line[i] = arg.Format(time.RFC3339Nano)
		case time.Duration:
			line[i] = strconv.FormatInt(arg.Nanoseconds(), 10)
		case encoding.BinaryMarshaler:
			b, err := arg.MarshalBinary()
			if err != nil {
				return nil, false
			}
			line[i] = string(b)
		default:
			return nil, false
		}
	}
	return line, true
}

// fillable tells whether fill knows this type of command.
func fillable(cmd redis.Cmder) bool {
	switch cmd.(type) {
	case *redis.Cmd, *redis.StringCmd, *redis.StatusCmd, *redis.IntCmd, *redis.BoolCmd, *redis.FloatCmd, *redis.StringSliceCmd,
		*redis.SliceCmd, *redis.BoolSliceCmd, *redis.MapStringStringCmd, *redis.StringStructMapCmd, *redis.ZSliceCmd:
		return true
	}
	return false
}

// fill puts a reply into a command as if go-redis had read it, and tells whether it could.
func fill(cmd redis.Cmder, r client.Reply) bool {
	if r.IsNil() {
		cmd.SetErr(redis.Nil)
		return true
	}
	var err error
	switch cmd := cmd.(type) {
	case *redis.StringCmd:
		err = set(cmd.SetVal, r.Text)
	case *redis.StatusCmd:
		err = set(cmd.SetVal, r.Text)
	case *redis.IntCmd:
		err = set(cmd.SetVal, r.Int)
	case *redis.BoolCmd:
		err = set(cmd.SetVal, r.Bool)
	case *redis.FloatCmd:
		err = set(cmd.SetVal, r.Float)
	case *redis.StringSliceCmd:
		err = set(cmd.SetVal, r.Strings)
	case *redis.MapStringStringCmd:
		err = set(cmd.SetVal, r.Map)
	case *redis.SliceCmd:
		err = set(cmd.SetVal, func() ([]any, error) { return anys(r) })
	case *redis.BoolSliceCmd:
		err = set(cmd.SetVal, func() ([]bool, error) { return bools(r) })
	case *redis.StringStructMapCmd:
		err = set(cmd.SetVal, func() (map[string]struct{}, error) { return members(r) })
	case *redis.ZSliceCmd:
		err = set(cmd.SetVal, func() ([]redis.Z, error) { return scored(r) })
	case *redis.Cmd:
		v, ok := generic(r)
		if ok {
			cmd.SetVal(v)
		}
		return ok
	default:
		return false
	}
	return err == nil
}

func set[T any](to func(T), from func() (T, error)) error {
	v, err := from()
	if err == nil {
		to(v)
	}
	return err
}

// generic is a reply as redis.Cmd has it. Maps, sets and their like differ by protocol version: they are left to go-redis.
func generic(r client.Reply) (any, bool) {
	switch r.Kind() {
	case '$', '+':
		text, err := r.Text()
		return text, err == nil
	case ':':
		n, err := r.Int()
		return n, err == nil
	case '*':
		list, err := anys(r)
		return list, err == nil
	}
	return nil, false
}

// anys is an array of strings and integers, nil where there is no value.
func anys(r client.Reply) ([]any, error) {
	elems, err := r.Elems()
	if err != nil {
		return nil, err
	}
	list := make([]any, len(elems))
	for i, e := range elems {
		switch {
		case e.IsNil():
		case e.Kind() == ':':
			list[i], err = e.Int()
		default:
			list[i], err = e.Text()
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

func bools(r client.Reply) ([]bool, error) {
	elems, err := r.Elems()
	if err != nil {
		return nil, err
	}
	list := make([]bool, len(elems))
	for i, e := range elems {
		if list[i], err = e.Bool(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func members(r client.Reply) (map[string]struct{}, error) {
	list, err := r.Strings()
	if err != nil {
		return nil, err
	}
	set := make(map[string]struct{}, len(list))
	for _, m := range list {
		set[m] = struct{}{}
	}
	return set, nil
}

func scored(r client.Reply) ([]redis.Z, error) {
	elems, err := r.Elems()
	if err != nil {
		return nil, err
	}
	list := make([]redis.Z, len(elems))
	for i, e := range elems {
		pair, err := e.Elems()
		if err != nil {
			return nil, err
		}
		if len(pair) != 2 {
			return nil, &client.TypeError{Want: "a member with its score", Got: "something else"}
		}
		member, err := pair[0].Text()
		if err != nil {
			return nil, err
		}
		list[i].Member = member
		if list[i].Score, err = pair[1].Float(); err != nil {
			return nil, err
		}
	}
	return list, nil
}
