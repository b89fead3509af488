"""From CIF files to rows: pores, linkers, building units, nets, and labels from isotherms."""
