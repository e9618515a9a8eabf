package awskmsfake

import (
	"time"
)

// mostOnDemand is how often a key is rotated on demand in its life (page:
// resource-limits, on-demand rotation; the quota cannot be raised).
const mostOnDemand = 25

// quietTime is how long before an automatic rotation none on demand begins (API_RotateKeyOnDemand).
const quietTime = 20 * time.Minute

// material is one key material of a key; its id has 64 hex digits (API_RotationsListEntry).
type material struct {
	id      string
	secret  []byte
	rotated time.Time // zero for the first
	kind    string    // AUTOMATIC or ON_DEMAND
}

// rotations are shared by all regions of a multi-Region key (page: rotate-keys).
type rotations struct {
	materials []material
	unnamed   bool // a custom key store's
	takes     time.Duration
	onDemand  int
	begun     []time.Time // on demand, not done yet

	automatic bool
	period    int // days
	next      time.Time
}

func (r *rotations) current() material { return r.materials[len(r.materials)-1] }

// settle does what AWS does in the background.
func (r *rotations) settle(now time.Time) {
	for len(r.begun) > 0 && !now.Before(r.begun[0].Add(r.takes)) {
		r.add("ON_DEMAND", r.begun[0].Add(r.takes))
		r.begun = r.begun[1:]
	}
	for r.automatic && !now.Before(r.next) {
		r.add("AUTOMATIC", r.next)
		r.next = r.next.AddDate(0, 0, r.period)
	}
}

func (r *rotations) add(kind string, at time.Time) {
	m := newMaterial()
	m.kind, m.rotated = kind, at
	r.materials = append(r.materials, m)
}

// rotatable answers the error of a key that has no rotations (API_RotateKeyOnDemand,
// API_EnableKeyRotation: symmetric, not in a custom key store, at the primary).
func (k *key) rotatable() *apiError {
	if k.spec != "SYMMETRIC_DEFAULT" || k.origin == "AWS_CLOUDHSM" || k.primary != nil {
		return refuse("UnsupportedOperationException", "%s cannot be rotated", k.arn())
	}
	return k.needs(enabled)
}

// rotateKeyOnDemand accepts a second request while the first is in progress, for no page
// says that AWS refuses it. It uses up another of the 25.
func (c *call) rotateKeyOnDemand(in *input) (any, *apiError) { // API_RotateKeyOnDemand
	k, err := c.find(in.KeyID)
	if err == nil {
		err = k.rotatable()
	}
	switch {
	case err != nil:
		return nil, err
	case k.automatic && k.next.Sub(c.now) <= quietTime:
		return nil, refuse("ConflictException", "an automatic rotation of %s is in progress or begins within the next 20 minutes", k.arn())
	case k.onDemand >= mostOnDemand:
		return nil, refuse("LimitExceededException", "%s was rotated on demand %d times", k.arn(), k.onDemand)
	}
	k.onDemand++
	k.begun = append(k.begun, c.now)
	return object{"KeyId": k.id}, nil // the key's id, and nothing else
}

func (c *call) getKeyRotationStatus(in *input) (any, *apiError) { // API_GetKeyRotationStatus
	k, err := c.find(in.KeyID)
	if err != nil {
		return nil, err
	}
	if k.spec != "SYMMETRIC_DEFAULT" || k.origin == "AWS_CLOUDHSM" {
		return nil, refuse("UnsupportedOperationException", "%s has no rotations", k.arn())
	}
	out := object{"KeyId": k.id, "KeyRotationEnabled": k.automatic}
	if k.automatic {
		out["NextRotationDate"], out["RotationPeriodInDays"] = seconds(k.next), k.period
	}
	if len(k.begun) > 0 {
		out["OnDemandRotationStartDate"] = seconds(k.begun[0])
	}
	return out, nil
}

// The bounds of an automatic rotation's period in days (API_EnableKeyRotation).
const shortestPeriod, usualPeriod, longestPeriod = 90, 365, 2560

func (c *call) enableKeyRotation(in *input) (any, *apiError) {
	k, err := c.find(in.KeyID)
	if err == nil {
		err = k.rotatable()
	}
	if err != nil {
		return nil, err
	}
	period := usualPeriod
	if in.RotationPeriodInDays != nil {
		period = *in.RotationPeriodInDays
	}
	if period < shortestPeriod || period > longestPeriod {
		return nil, refuse("ValidationException", "the period is %d days, and %d to %d are allowed", period, shortestPeriod, longestPeriod)
	}
	k.automatic, k.period, k.next = true, period, c.now.AddDate(0, 0, period)
	return nil, nil
}

func (c *call) disableKeyRotation(in *input) (any, *apiError) { // API_DisableKeyRotation
	k, err := c.find(in.KeyID)
	if err == nil {
		err = k.rotatable()
	}
	if err != nil {
		return nil, err
	}
	k.automatic = false
	return nil, nil
}

func (c *call) listKeyRotations(in *input) (any, *apiError) { // API_ListKeyRotations
	k, err := c.find(in.KeyID)
	if err != nil {
		return nil, err
	}
	if k.spec != "SYMMETRIC_DEFAULT" || k.origin == "AWS_CLOUDHSM" {
		return nil, refuse("UnsupportedOperationException", "%s has no rotations", k.arn())
	}
	var all []object
	for i, m := range k.materials {
		entry := object{"KeyId": k.id, "KeyMaterialId": m.id, "KeyMaterialState": "NON_CURRENT"}
		if i == len(k.materials)-1 {
			entry["KeyMaterialState"] = "CURRENT"
		}
		switch {
		case i > 0:
			entry["RotationDate"], entry["RotationType"] = seconds(m.rotated), m.kind
		case in.IncludeKeyMaterial != "ALL_KEY_MATERIAL": // the first is no rotation
			continue
		}
		all = append(all, entry)
	}
	entries, out, err := pageOf(all, in, 100, 1000)
	if err != nil {
		return nil, err
	}
	out["Rotations"] = append([]object{}, entries...)
	return out, nil
}
