package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"github.com/google/uuid"

	"github.com/keyrotor/keyrotor/core/backup"
	"github.com/keyrotor/keyrotor/core/draft"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
)

// BackupOptions are what a backup may be told; the zero value is ready.
type BackupOptions struct {
	// WrapWith names the providers that wrap the backup's root: each of them alone
	// opens it. All of the config's if it is empty.
	WrapWith []string
	// Writer names the build in the backup's header: Go's build information if it is
	// empty.
	Writer string
	// Progress, if set, is told how many bytes of the store's copy are done.
	Progress func(done, total uint64)
}

// CreateBackup writes a backup of the store to a new file at path, for this user
// alone, while all processes go on using the store. The file appears whole or not at
// all; fs.ErrExist if there is one.
//
// The backup is encrypted, and the key-encryption keys are not in it: without one
// of the key managers that wrapped it, nobody restores it. Those of a local provider
// are in a file, which needs a backup of its own, kept apart.
func (kr *Keyrotor) CreateBackup(ctx context.Context, path string, o BackupOptions) (h backup.Header, err error) {
	if _, err := os.Lstat(path); err == nil {
		return h, fmt.Errorf("%s: %w: no backup is replaced; choose another name", path, fs.ErrExist)
	}
	d, err := draft.New(path)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, d.Discard()) }()
	write := func(w io.Writer) (err error) {
		h, err = kr.WriteBackup(ctx, w, o)
		return err
	}
	if err := d.Write(write); err != nil {
		return h, err
	}
	return h, d.Publish()
}

// WriteBackup is CreateBackup to any stream, e.g. a pipe.
func (kr *Keyrotor) WriteBackup(ctx context.Context, w io.Writer, o BackupOptions) (h backup.Header, err error) {
	providers := o.WrapWith
	if len(providers) == 0 {
		for _, p := range kr.Config.Providers {
			providers = append(providers, p.Name)
		}
	}
	if err := kr.checkProviders(providers); err != nil {
		return h, fmt.Errorf("backup: %w", err)
	}
	// The copy is as large as the store, and lies on the same file system: nobody
	// else's has to hold it in plain.
	d, err := draft.New(kr.Config.Storage.Path)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, d.Discard()) }()
	snapshot, err := kr.store.Snapshot(ctx, d.Path())
	if err != nil {
		return h, err
	}
	copied, err := os.Open(d.Path())
	if err != nil {
		return h, err
	}
	defer copied.Close()
	source := backup.Source{
		Store: kr.store.ID(), Content: counted(copied, uint64(snapshot.Size), o.Progress), Size: uint64(snapshot.Size),
		LogSize: snapshot.LogSize, LogRoot: snapshot.LogRoot, Writer: o.Writer,
	}
	if source.Writer == "" {
		source.Writer = buildVersion()
	}
	return backup.Write(ctx, w, source, wrapping.Wrapper{KeyManager: kr.keyManager, Now: time.Now}, providers)
}

// buildVersion is that of this module in the running program.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	const module = "github.com/keyrotor/keyrotor"
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module {
			return m.Version
		}
	}
	return "unknown"
}

// VerifyBackup reads a backup to its end and answers its header, if every byte is as
// it was written. Nothing is written.
func (s *Setup) VerifyBackup(ctx context.Context, r io.Reader, progress func(done, total uint64)) (backup.Header, error) {
	b, err := backup.Read(r)
	if err != nil {
		return backup.Header{}, err
	}
	return b.Header, s.decrypt(ctx, io.Discard, b, progress)
}

// decrypt writes the copy in a backup.
func (s *Setup) decrypt(ctx context.Context, w io.Writer, b *backup.Backup, progress func(done, total uint64)) error {
	copied, err := b.Open(ctx, s.keyManager)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, counted(copied, b.Header.Size, progress))
	return err
}

// RestoredStore says what came out of a backup.
type RestoredStore struct {
	Header backup.Header
	// Keys are all of the store's. None of them encrypts before its recovery.
	Keys []rotation.RestoredKey
	// Operation is the id that the events of the restoration share.
	Operation string
}

// RestoreBackup makes the config's store out of a backup. It appears whole or not at
// all; fs.ErrExist if there is one, or a part of one. All that was encrypted before
// the backup decrypts; no key encrypts or rotates before [Keyrotor.Recover].
//
// Whatever used the lost store must have ended: a process that still has the old
// file open goes on to write what nobody will find.
func (s *Setup) RestoreBackup(ctx context.Context, r io.Reader, progress func(done, total uint64)) (RestoredStore, error) {
	b, err := backup.Read(r)
	if err != nil {
		return RestoredStore{}, err
	}
	restored := RestoredStore{Header: b.Header, Operation: uuid.NewString()}
	write := func(w io.Writer) error { return s.decrypt(ctx, w, b, progress) }
	accept := func(st *sqlite.Store) error {
		if err := isCopyOf(ctx, st, b.Header); err != nil {
			return err
		}
		restored.Keys, err = rotation.Restoration{
			Backup: b.Header.ID.String(), Created: b.Header.Created,
			Actor: s.opener.actor(), Operation: restored.Operation, Time: time.Now(),
		}.Mark(ctx, st)
		return err
	}
	cfg := sqlite.Config{Path: s.Config.Storage.Path, Log: s.opener.Log}
	if err := sqlite.Restore(ctx, cfg, write, accept); err != nil {
		return RestoredStore{}, err
	}
	return restored, nil
}

// isCopyOf compares a store with what its backup says of it.
func isCopyOf(ctx context.Context, st *sqlite.Store, h backup.Header) error {
	size, root, err := st.Root(ctx)
	if err != nil {
		return err
	}
	if st.ID() != h.Store || size != h.LogSize || root != h.LogRoot {
		return fmt.Errorf("%w: it holds store %s with %d events, root %s, and its header says %s, %d and %s",
			backup.ErrDamaged, st.ID(), size, root, h.Store, h.LogSize, h.LogRoot)
	}
	return nil
}

// counted tells progress, if there is any, how much was read.
func counted(r io.Reader, total uint64, progress func(done, total uint64)) io.Reader {
	if progress == nil {
		return r
	}
	progress(0, total)
	return &counter{src: r, total: total, progress: progress}
}

type counter struct {
	src         io.Reader
	done, total uint64
	progress    func(done, total uint64)
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.src.Read(p)
	c.done += uint64(n)
	c.progress(c.done, c.total)
	return n, err
}
