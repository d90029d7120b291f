namespace ObjectStore.Maintenance.Scrubbing;

/// <summary>Settings of <see cref="ScrubService"/>.</summary>
public sealed class ScrubOptions
{
    /// <summary>In which every fragment is read once. 14 days unless set.</summary>
    public TimeSpan Period { get; init; } = TimeSpan.FromDays(14);

    /// <summary>The least that is read of a drive in a second while there is something to read. 1 MiB unless set.</summary>
    public long FloorBytesPerSecond { get; init; } = 1 << 20;

    /// <summary>Fragments listed at a time. 256 unless set.</summary>
    public int PageEntries { get; init; } = 256;

    /// <summary>How often the scrub of a drive writes down where it stands. 30 s unless set.</summary>
    public TimeSpan CursorInterval { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How often the set of drives is looked at, and how long a drive that failed is left alone. 1 min unless set.</summary>
    public TimeSpan PollInterval { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>Fragments of younger extents are left on drives that the map does not name for them. 1 h unless set.</summary>
    public TimeSpan StrayGrace { get; init; } = TimeSpan.FromHours(1);

    /// <summary>Extents that nothing names are orphans from this age on. 72 h unless set; that of the liveness check is the same.</summary>
    public TimeSpan OrphanGrace { get; init; } = TimeSpan.FromHours(72);

    /// <exception cref="ArgumentException">A setting makes no sense.</exception>
    public void Validate()
    {
        Require(Period >= TimeSpan.FromMinutes(1), nameof(Period), Period, "use at least a minute; 14 days is the default");
        Require(FloorBytesPerSecond >= 1024, nameof(FloorBytesPerSecond), FloorBytesPerSecond, "use at least 1,024; 1,048,576 is the default");
        Require(PageEntries is >= 1 and <= 10_000, nameof(PageEntries), PageEntries, "use 1 to 10,000; 256 is the default");
        Require(CursorInterval > TimeSpan.Zero, nameof(CursorInterval), CursorInterval, "use a time above zero; 00:00:30 is the default");
        Require(PollInterval > TimeSpan.Zero, nameof(PollInterval), PollInterval, "use a time above zero; 00:01:00 is the default");
        Require(OrphanGrace >= TimeSpan.FromHours(1), nameof(OrphanGrace), OrphanGrace, "use more than the longest write takes; 72 hours is the default");

        static void Require(bool holds, string setting, object value, string remedy)
        {
            if (!holds)
                throw new ArgumentException($"Scrub setting '{setting}' is '{value}': {remedy}.");
        }
    }
}

/// <summary>How far the scrub of a drive is.</summary>
/// <param name="PassStarted">When the pass that runs, or the last one, began.</param>
/// <param name="Findings">Missing or damaged fragments and volumes of that pass.</param>
/// <param name="LastPassFinished">Null until one was.</param>
public sealed record ScrubStatus(Guid DriveId, DateTimeOffset PassStarted, long Fragments, long Bytes, long Findings, bool IsRunning, DateTimeOffset? LastPassFinished)
{
    /// <summary>About what the pass reads, as the drive stood when the process began or resumed it; null before that.</summary>
    public long? ExpectedBytes { get; init; }
}
