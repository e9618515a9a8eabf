package core

import (
	"cmp"
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/catalog"
	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/doctor"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/core/scheduler"
	"github.com/keyrotor/keyrotor/core/secret"
)

// Examine looks at everything that a config file leads to: the file itself, plugins,
// key managers, the store and what it holds, this process. It goes on where Open
// would give up, since that is when it is needed, and changes nothing. Deep has the
// providers wrap and unwrap a value, which some key managers charge for, and the
// database compared with its indexes, which takes longer.
//
// What is wrong stands in the report; an error means only that ctx ended first, or that
// a plugin could not be ended.
func (o Opener) Examine(ctx context.Context, path string, deep bool) (report doctor.Report, err error) {
	process := processFindings()
	file, err := config.Load(path)
	if err != nil {
		report.Add(doctor.Config(path, nil, err)...)
		for _, group := range []string{
			doctor.GroupPlugins, doctor.GroupProvider, doctor.GroupStore, doctor.GroupKey, doctor.GroupHistory, doctor.GroupPending,
			doctor.GroupRotation, doctor.GroupNotify,
		} {
			report.Add(doctor.Skip(group, "the config cannot be read"))
		}
		report.Add(process...)
		return report, ctx.Err()
	}
	x := &examination{Opener: o, file: file, deep: deep, now: time.Now()}
	plugins := x.examinePlugins()
	settings := x.examineConfig(ctx)
	if x.setup != nil {
		defer func() { err = errors.Join(err, x.setup.Close()) }()
		process = append(process, doctor.Sockets(x.setup.Catalog.CheckSockets()))
	}
	x.examineStore(ctx)
	report.Add(settings...)
	report.Add(plugins...)
	report.Add(doctor.Providers(x.askProviders(ctx))...)
	report.Add(x.stored.Findings...)
	report.Add(process...)
	return report, ctx.Err()
}

func processFindings() []doctor.Finding {
	forbidden, err := secret.DumpsForbidden()
	return []doctor.Finding{doctor.Dumps(forbidden, err), doctor.FIPS(fips140.Enabled())}
}

// examination is one run of Examine over a config that could be read.
type examination struct {
	Opener
	file *config.File
	deep bool
	now  time.Time

	// lock is nil if it cannot be read, setup if there can be none.
	lock  *catalog.Lock
	setup *Setup
	// broken says why a plugin would not start, by type.
	broken map[string]error
	// refused says why a provider cannot be asked, by name.
	refused map[string]error

	stored doctor.Stored
}

// examinePlugins compares the plugins with plugins.lock, and makes a catalog of them.
func (x *examination) examinePlugins() []doctor.Finding {
	path := x.file.Plugins.Lock
	lock, err := catalog.ReadLock(path)
	findings := []doctor.Finding{doctor.Lock(path, lock, err)}
	dir, dirErr := pluginDir(x.file)
	if dirErr != nil {
		return append(findings, doctor.PluginDirectory(dir, dirErr))
	}
	findings = append(findings, doctor.PluginFiles(lookAt(path), lookAt(dir))...)
	here, listErr := catalog.List(dir)
	if listErr != nil {
		findings = append(findings, doctor.PluginDirectory(dir, listErr))
	}
	if err != nil {
		return findings
	}
	x.lock = lock
	x.broken = make(map[string]error)
	var used []string
	for _, p := range x.file.Providers {
		used = append(used, p.Type)
	}
	var plugins []doctor.Plugin
	for _, typ := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(here, used, lock.Types())))) {
		pinned, ok := lock.Plugins[typ]
		p := doctor.Plugin{
			Type: typ, Path: filepath.Join(dir, catalog.FileName(typ)), Pinned: ok, Used: slices.Contains(used, typ),
			Version: pinned.Version, Err: lock.Verify(dir, typ),
		}
		if _, attached := x.Reattach[typ]; p.Err != nil && !attached {
			x.broken[typ] = p.Err
		}
		plugins = append(plugins, p)
	}
	return append(findings, doctor.Plugins(plugins)...)
}

// examineConfig checks the provider blocks, as far as their plugins are known, and
// who may read the config and write it.
func (x *examination) examineConfig(ctx context.Context) []doctor.Finding {
	inline := x.file.Inline()
	var invalid []error
	x.refused = make(map[string]error)
	if x.lock != nil {
		x.setup, _ = x.Opener.setup(x.file, x.lock) // fails only without a plugin directory
	}
	if x.setup != nil {
		for _, p := range x.file.Providers {
			err := x.setup.addProvider(ctx, p)
			if _, wrong := errors.AsType[*config.Error](err); wrong {
				invalid = append(invalid, err)
			}
			if err != nil {
				x.refused[p.Name] = err
			}
			if schema, err := x.setup.Catalog.Schema(ctx, p.Type); err == nil {
				inline = append(inline, p.Inline(schema)...)
			}
		}
	}
	var findings []doctor.Finding
	for _, err := range invalid {
		findings = append(findings, doctor.Config(x.file.Path, x.file, err)...)
	}
	var targets error
	if x.setup != nil {
		targets = x.setup.addTargets()
	}
	switch {
	case targets != nil:
		findings = append(findings, doctor.Targets(x.file.Path, targets))
	case len(invalid) == 0:
		findings = doctor.Config(x.file.Path, x.file, nil)
	}
	if x.setup != nil {
		findings = append(findings, doctor.Deprecated(x.setup.Warnings)...)
	}
	var files []doctor.File
	for _, source := range x.file.Sources {
		if f := lookAt(source); f != nil {
			files = append(files, *f)
		}
	}
	if folder := lookAt(x.file.Dir); folder != nil {
		findings = append(findings, doctor.ConfigFiles(*folder, files, inline)...)
	}
	findings = append(findings, doctor.ConfigLeftovers(x.file.Dir, drafts(x.file.Dir), x.now)...)
	return append(findings, doctor.Data(x.file.DataPaths(), readable)...)
}

// readable tries to begin to read a file or folder, as a census does: not through a
// link.
func readable(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s is a symbolic link, which nothing follows: name what it points to", path)
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return fmt.Errorf("%s is neither a file nor a folder", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		if _, err = f.ReadDir(1); errors.Is(err, io.EOF) {
			err = nil // it is empty
		}
	}
	return errors.Join(err, f.Close())
}

// drafts lists what Init leaves behind when it is killed.
func drafts(dir string) []fs.FileInfo {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // the config was read from there a moment ago
	}
	var found []fs.FileInfo
	for _, e := range entries {
		if ok, _ := filepath.Match(draftPattern, e.Name()); !ok {
			continue
		}
		if info, err := e.Info(); err == nil {
			found = append(found, info)
		}
	}
	return found
}

// lookAt answers nil for a file that cannot be looked at; whoever reads it says why.
func lookAt(path string) *doctor.File {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return &doctor.File{Path: path, Mode: info.Mode()}
}

// askProviders asks all of them at once.
func (x *examination) askProviders(ctx context.Context) []doctor.Provider {
	answers := make([]doctor.Provider, len(x.file.Providers))
	var wg sync.WaitGroup
	for i, p := range x.file.Providers {
		a := &answers[i]
		*a = doctor.Provider{Name: p.Name, Deep: x.deep, Wraps: x.stored.Wraps[p.Name], Lineage: x.stored.Lineage}
		_, invalid := errors.AsType[*config.Error](x.refused[p.Name])
		switch err := x.refused[p.Name]; {
		case x.setup == nil:
			a.Skipped = "no plugin can be started"
		case x.broken[p.Type] != nil:
			a.Skipped = "its plugin would not be started"
		case invalid:
			a.Skipped = "its block in the config is not valid"
		case err != nil:
			a.CheckErr, a.KeyErr = err, err
		default:
			wg.Go(func() { x.ask(ctx, a) })
		}
	}
	wg.Wait()
	return answers
}

func (x *examination) ask(ctx context.Context, a *doctor.Provider) {
	p, err := x.setup.Catalog.Provider(a.Name)
	if err != nil {
		a.CheckErr, a.KeyErr = err, err
		return
	}
	a.Check, a.CheckErr = p.Check(ctx, provider.CheckRequest{Deep: x.deep})
	a.Key, a.KeyErr = p.DescribeKey(ctx)
}

// examineStore looks at the store, which tells what the providers are good for, too.
func (x *examination) examineStore(ctx context.Context) {
	var names []string
	for _, p := range x.file.Providers {
		names = append(names, p.Name)
	}
	var targets []notify.Target
	for _, n := range x.file.Notify {
		targets = append(targets, notify.Target{Name: n.Name, Types: n.Types, Keys: n.Keys})
	}
	x.stored = doctor.SQLite(ctx, x.file.Storage.Path, doctor.Circumstances{
		Providers: names, Keys: x.file.Keys, Notify: targets, FIPS: fips140.Enabled(), Deep: x.deep, Now: x.now,
		Retention: retention(x.file.History),
		Interval:  cmp.Or(x.Interval, x.file.Scheduler.Interval, scheduler.DefaultInterval),
	})
}
