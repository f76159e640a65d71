package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// raftStore keeps raft's log and its votes in one bbolt file; every write is synced before it returns. It is raft-boltdb
// without what that brings along: its v2.3.1 needs a go-metrics that raft itself no longer builds with, v2.3.0 the bolt of 2017.
type raftStore struct {
	db *bbolt.DB
}

var (
	_ raft.LogStore    = (*raftStore)(nil)
	_ raft.StableStore = (*raftStore)(nil)
)

// storeLockTimeout is how long another process may keep the file before that is an error.
const storeLockTimeout = time.Second

var (
	bucketLog  = []byte("log")
	bucketConf = []byte("conf")
	// errNoKey reads as raft wants it: it compares the text.
	errNoKey = errors.New("not found")
)

// openRaftStore opens or creates the store in a directory.
func openRaftStore(dir string) (*raftStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("raft's log: %w", err)
	}
	path := filepath.Join(dir, "raft.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: storeLockTimeout, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true,
	})
	if err != nil {
		return nil, fmt.Errorf("raft's log %s: %w", path, err)
	}
	s := &raftStore{db}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketLog)
		if err == nil {
			_, err = tx.CreateBucketIfNotExists(bucketConf)
		}
		return err
	})
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("raft's log %s: %w", path, err), db.Close())
	}
	return s, nil
}

func (s *raftStore) Close() error { return s.db.Close() }

// FirstIndex is 0 where the log is empty.
func (s *raftStore) FirstIndex() (uint64, error) { return s.index((*bbolt.Cursor).First) }

// LastIndex is 0 where the log is empty.
func (s *raftStore) LastIndex() (uint64, error) { return s.index((*bbolt.Cursor).Last) }

func (s *raftStore) index(seek func(*bbolt.Cursor) (key, value []byte)) (index uint64, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		if key, _ := seek(tx.Bucket(bucketLog).Cursor()); key != nil {
			index = binary.BigEndian.Uint64(key)
		}
		return nil
	})
	return index, err
}

// GetLog reads an entry, or returns raft.ErrLogNotFound.
func (s *raftStore) GetLog(index uint64, l *raft.Log) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketLog).Get(indexKey(index))
		if b == nil {
			return raft.ErrLogNotFound
		}
		entry, err := parseLog(b)
		if err != nil {
			return fmt.Errorf("raft's log at %d: %w", index, err)
		}
		entry.Index = index
		*l = entry
		return nil
	})
}

// StoreLog stores one entry.
func (s *raftStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs stores entries, all or none.
func (s *raftStore) StoreLogs(logs []*raft.Log) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketLog)
		bucket.FillPercent = 0.9 // keys only grow
		for _, l := range logs {
			if err := bucket.Put(indexKey(l.Index), appendLog(nil, l)); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteRange deletes the entries from first to last, both included.
func (s *raftStore) DeleteRange(first, last uint64) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketLog)
		for {
			// Sought anew each time: a cursor may skip what follows the key that it deletes.
			key, _ := bucket.Cursor().Seek(indexKey(first))
			if key == nil || binary.BigEndian.Uint64(key) > last {
				return nil
			}
			if err := bucket.Delete(key); err != nil {
				return err
			}
		}
	})
}

// Set stores a value.
func (s *raftStore) Set(key, value []byte) error {
	return s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketConf).Put(key, value) })
}

// Get reads a value.
func (s *raftStore) Get(key []byte) (value []byte, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketConf).Get(key)
		if b == nil {
			return errNoKey
		}
		value = append([]byte{}, b...)
		return nil
	})
	return value, err
}

// SetUint64 stores a number.
func (s *raftStore) SetUint64(key []byte, value uint64) error { return s.Set(key, indexKey(value)) }

// GetUint64 reads a number.
func (s *raftStore) GetUint64(key []byte) (uint64, error) {
	b, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("raft's %s: %d bytes are no number", key, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// indexKey sorts as the number does.
func indexKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

const logVersion = 1

// appendLog encodes an entry but for its index: version, type, term, time in Unix nanoseconds or 0, extensions, data.
func appendLog(dst []byte, l *raft.Log) []byte {
	e := encoder{body: dst}
	e.byte(logVersion)
	e.byte(byte(l.Type))
	e.uint(l.Term)
	var at int64
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	e.uint(uint64(at))
	e.bytes(l.Extensions)
	e.bytes(l.Data)
	return e.body
}

// parseLog decodes an entry, which shares nothing with b.
func parseLog(b []byte) (l raft.Log, err error) {
	d := decoder{rest: b}
	if v := d.byte(); v != logVersion {
		d.fail("version %d, and this program knows %d", v, logVersion)
	}
	l.Type, l.Term = raft.LogType(d.byte()), d.uint()
	if at := int64(d.uint()); at != 0 {
		l.AppendedAt = time.Unix(0, at)
	}
	if ext := d.bytes(len(d.rest)); len(ext) > 0 {
		l.Extensions = append([]byte{}, ext...)
	}
	if data := d.bytes(len(d.rest)); len(data) > 0 {
		l.Data = append([]byte{}, data...)
	}
	return l, d.end()
}

// writeFile replaces a file, so that after a crash it is the old or the new one.
func writeFile(path string, content []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

// syncDir makes what was created or renamed in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
