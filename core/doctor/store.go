package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
)

const (
	storeFile        check = "store.file"
	storePermissions check = "store.permissions"
	storeWritable    check = "store.writable"
	storeFileSystem  check = "store.filesystem"
	storeLeftovers   check = "store.leftovers"
	storeLog         check = "store.log"
	storeReadable    check = "store.readable"
	storeSchema      check = "store.schema"
	storeIntegrity   check = "store.integrity"
	storeReferences  check = "store.references"
)

const (
	// settled is how long a file that is made for a moment may stay before nobody
	// can be at work on it.
	settled = 10 * time.Minute
	// longLog is the size in bytes of a write-ahead log that only grows while
	// somebody keeps an old snapshot open.
	longLog = 256 << 20
)

// StoreFiles looks at what the store is on the disk. The error is that of
// sqlite.Stat. There is more to look at only if it answers true.
func StoreFiles(f sqlite.Files, err error, now time.Time) ([]Finding, bool) {
	if err != nil {
		return []Finding{storeFile.fail(f.Path, err.Error(), "let this user read the file and its folder")}, false
	}
	if f.Database == nil {
		return []Finding{missing(f)}, false
	}
	findings := []Finding{storeFile.ok(f.Path, "%s", bytesText(f.Database.Size()))}
	findings = append(findings, storeModes(f)...)
	if f.Writable != nil {
		findings = append(findings, storeWritable.fail(f.Path, "this user may read it and not write it: "+f.Writable.Error(),
			"let this user write the file and its folder, on a file system mounted writable; until then keys cannot be rotated, and nothing can be encrypted"))
	}
	if f.Remote != nil {
		findings = append(findings, storeFileSystem.fail(f.Path, f.Remote.Error(), "move the store to a local disk while nothing uses it"))
	}
	return append(findings, leftovers(storeLeftovers, filepath.Dir(f.Path), f.Drafts, now)...), true
}

// leftovers lists files and folders that are made for a moment and are there too long.
func leftovers(c check, folder string, drafts []fs.FileInfo, now time.Time) []Finding {
	var findings []Finding
	for _, d := range drafts {
		if age := now.Sub(d.ModTime()); age > settled {
			path, remove := filepath.Join(folder, d.Name()), "rm "
			if d.IsDir() {
				remove = "rm -r "
			}
			findings = append(findings, c.warn(path, fmt.Sprintf("a process that was killed left it %s ago", ageText(age)), remove+path))
		}
	}
	return findings
}

func missing(f sqlite.Files) Finding {
	const makes = "`keyrotor backup restore FILE` brings it back; if there never was one, `keyrotor key create NAME` makes one with its first key"
	switch {
	case f.Folder == nil:
		return storeFile.fail(f.Path, "neither the store nor its folder exists", "mount the folder, or create it: then "+makes)
	case f.Log != nil:
		return storeFile.fail(f.Path, "the store is gone, and its write-ahead log is still there", restore)
	default:
		return storeFile.fail(f.Path, "the store does not exist", "mount it, or "+makes)
	}
}

func storeModes(f sqlite.Files) []Finding {
	var findings []Finding
	for _, beside := range []struct {
		info fs.FileInfo
		path string
	}{{f.Database, f.Path}, {f.Log, f.Path + "-wal"}, {f.Shared, f.Path + "-shm"}} {
		if beside.info == nil {
			continue
		}
		if file := (File{beside.path, beside.info.Mode()}); open(file) {
			findings = append(findings, storePermissions.fail(file.Path, modeText(file)+" lets other users at it", "chmod 600 "+file.Path))
		}
	}
	if folder := (File{filepath.Dir(f.Path), f.Folder.Mode()}); everybodyReplaces(folder) {
		findings = append(findings, storePermissions.fail(folder.Path, modeText(folder)+" lets every user replace the store", "chmod o-w "+folder.Path))
	}
	if len(findings) == 0 {
		findings = []Finding{storePermissions.ok(f.Path, "%s, folder %04o", modeText(File{f.Path, f.Database.Mode()}), f.Folder.Mode().Perm())}
	}
	return findings
}

// StoreRefused says why the store cannot be looked into; the error is that of
// sqlite.Inspect.
func StoreRefused(path string, err error) Finding {
	next := "let this user read and write the file and its folder"
	switch {
	case errors.Is(err, store.ErrForeign):
		next = `correct "path" in the config's storage block`
	case errors.Is(err, store.ErrCorrupt):
		next = restore
	}
	return storeReadable.fail(path, err.Error(), next)
}

// Inspection is a database that was opened to be looked at.
type Inspection interface {
	Schema(ctx context.Context) (has, known int, err error)
	SchemaFaults(ctx context.Context) ([]string, error)
	Integrity(ctx context.Context, deep bool) ([]string, error)
	References(ctx context.Context) ([]string, error)
	Pages(ctx context.Context) (sqlite.Pages, error)
}

// Database looks into a database: its schema, and whether it is whole.
func Database(ctx context.Context, f sqlite.Files, i Inspection, deep bool) []Finding {
	findings := []Finding{schema(ctx, f.Path, i), integrity(ctx, f.Path, i, deep)}
	switch orphans, err := i.References(ctx); {
	case err != nil:
		findings = append(findings, storeReferences.fail(f.Path, err.Error(), restore))
	case len(orphans) > 0:
		findings = append(findings, storeReferences.fail(f.Path, strings.Join(orphans, "; "), restore))
	default:
		findings = append(findings, storeReferences.ok(f.Path, "every row refers to one that exists"))
	}
	return append(findings, writeAheadLog(f))
}

func schema(ctx context.Context, path string, i Inspection) Finding {
	has, known, err := i.Schema(ctx)
	switch {
	case errors.Is(err, store.ErrSchema):
		return storeSchema.fail(path, err.Error(), "use the build that wrote it, or a newer one")
	case err != nil:
		return storeSchema.fail(path, err.Error(), restore)
	}
	switch faults, err := i.SchemaFaults(ctx); {
	case err != nil:
		return storeSchema.fail(path, err.Error(), restore)
	case len(faults) > 0:
		return storeSchema.fail(path, strings.Join(faults, "; "), "find out who changed the database; "+restore)
	case has < known:
		return storeSchema.warn(path, fmt.Sprintf("it has %d of the %d migrations of this build", has, known),
			"back it up; then any command that opens it brings it up to date, e.g. `keyrotor key list`")
	default:
		return storeSchema.ok(path, "%s, as this build", count(has, "migration"))
	}
}

func integrity(ctx context.Context, path string, i Inspection, deep bool) Finding {
	how := "quick check; --deep compares the indexes, too"
	if deep {
		how = "full check"
	}
	found, err := i.Integrity(ctx, deep)
	if err != nil {
		return storeIntegrity.fail(path, err.Error(), restore)
	}
	if len(found) > 0 {
		return storeIntegrity.fail(path, strings.Join(found, "; "), restore)
	}
	p, err := i.Pages(ctx)
	if err != nil {
		return storeIntegrity.fail(path, err.Error(), restore)
	}
	return storeIntegrity.ok(path, "%s of %s, %d of them free (%s)", count(p.Count, "page"), bytesText(p.Size), p.Free, how)
}

func writeAheadLog(f sqlite.Files) Finding {
	path := f.Path + "-wal"
	switch {
	case f.Log == nil:
		return storeLog.ok(path, "there is none: nobody has the store open, and all is in the file")
	case f.Log.Size() >= longLog:
		return storeLog.warn(path, bytesText(f.Log.Size())+", which is long: it shrinks once no process reads an old state of the store",
			"look for a process that has the store open and hangs or is stopped")
	default:
		return storeLog.ok(path, "%s", bytesText(f.Log.Size()))
	}
}

// bytesText says "312 bytes", "64 KiB" or "1.5 MiB".
func bytesText(n int64) string {
	switch {
	case n < 1<<10:
		return count(n, "byte")
	case n < 1<<20:
		return fmt.Sprintf("%.4g KiB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20))
	}
}

// ageText is a duration as people say it.
func ageText(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}
