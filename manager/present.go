package manager

import "context"

// Present implements switchplan.Facts.
func (c *clusters) Present(ctx context.Context, unit string) error {
	l, _, _, err := c.unit(ctx, unit)
	if err != nil {
		return err
	}
	_, err = l.masters(ctx)
	return err
}
