//! Cgroups: limits, accounting and the freezer behind one interface, v1, v2 and hybrid.
