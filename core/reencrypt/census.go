package reencrypt

import (
	"context"
	"fmt"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// Census counts the tokens in the files at and below the paths, by key and
// version, without decrypting any. progress may be nil. The error is the
// context's; the report then says what was counted until then.
func Census(ctx context.Context, keys Keys, paths []string, progress func(Progress)) (CensusReport, error) {
	c := census{
		keys:   keys,
		tour:   newTour(progress, false),
		counts: map[string]map[uint32]int{},
		first:  map[string]map[uint32]Place{},
		faults: map[string]error{},
	}
	err := c.tour.run(ctx, paths, c.file)
	return CensusReport{
		Keys: c.counts, First: c.first, Unknown: c.unknown, Files: c.tour.files, Tokens: c.tokens,
		Failed: c.tour.failed, Skipped: c.tour.skipped,
	}, err
}

// maxFaults bounds how many unknown keys are remembered, whatever a file names.
const maxFaults = 10_000

// census is a census under way. A key is looked up once, so that the counts are
// all about the same versions.
type census struct {
	keys            Keys
	tour            *tour
	counts          map[string]map[uint32]int
	first           map[string]map[uint32]Place
	faults          map[string]error // of keys that could not be looked up
	tokens, unknown int
}

func (c *census) file(ctx context.Context, src *source, scan *scanner) error {
	var failed failures
	defer func() { c.tour.fail(failed.all(src.path)...) }()
	return scan.tokens(func(p piece) {
		c.tokens++
		if err := c.count(ctx, src.path, p); err != nil {
			c.unknown++
			failed.add(tokenFailure(src.path, p.line, err))
		}
	})
}

// count books a token under its version, or says why that is not possible.
func (c *census) count(ctx context.Context, path string, p piece) error {
	if p.kind == lookalike {
		return p.err
	}
	counts, ok := c.counts[string(p.parts.Key)]
	if !ok {
		var err error
		if counts, err = c.lookUp(ctx, string(p.parts.Key)); err != nil {
			return err
		}
	}
	if _, ok := counts[p.parts.Version]; !ok {
		return fmt.Errorf("%w: key %q has no version %d", keyring.ErrUnknownVersion, p.parts.Key, p.parts.Version)
	}
	if counts[p.parts.Version] == 0 {
		c.first[string(p.parts.Key)][p.parts.Version] = Place{path, p.line}
	}
	counts[p.parts.Version]++
	return nil
}

// lookUp opens the books of a key that occurs for the first time.
func (c *census) lookUp(ctx context.Context, key string) (map[uint32]int, error) {
	if err, ok := c.faults[key]; ok {
		return nil, err
	}
	versions, err := c.keys.Versions(ctx, key)
	if err != nil {
		if len(c.faults) >= maxFaults {
			clear(c.faults)
		}
		c.faults[key] = err
		return nil, err
	}
	counts := make(map[uint32]int, len(versions))
	for _, v := range versions {
		counts[v] = 0
	}
	c.counts[key], c.first[key] = counts, map[uint32]Place{}
	return counts, nil
}
