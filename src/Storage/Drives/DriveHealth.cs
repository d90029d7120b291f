namespace ObjectStore.Storage.Drives;

public enum DriveHealthState
{
    Healthy,

    /// <summary>In use, but slow, or with errors of late.</summary>
    Suspect,

    /// <summary>In use for reads and deletes; refuses writes until space returns.</summary>
    Full,

    /// <summary>Out of use: its operations end with <see cref="DriveUnavailableException"/>, or it has never been opened.</summary>
    Failed,
}

/// <summary>One of the configured drive folders at one moment.</summary>
/// <param name="Path">As configured.</param>
/// <param name="DriveId">The drive it was last seen to be; null where that could not be read.</param>
/// <param name="State">Whether and how it is in use.</param>
/// <param name="Reason">Why it is not healthy, for an operator; empty where it is.</param>
/// <param name="Since">When it came into this state.</param>
/// <param name="RecentErrors">Errors within the supervisor's window.</param>
/// <param name="Statistics">As of the last probe; null where there has been none since it was opened.</param>
public sealed record DriveHealth(string Path, Guid? DriveId, DriveHealthState State, string Reason, DateTimeOffset Since, DriveErrorCounts RecentErrors, DriveStatistics? Statistics);

/// <summary>Settings of <see cref="DriveSupervisor"/>.</summary>
public sealed class DriveSupervisorOptions
{
    /// <summary>How often each drive is probed, and a failed one looked at again. Default: the heartbeat of a storage node.</summary>
    public TimeSpan ProbeInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>A drive that has been at one operation for longer is suspect. Healthy drives answer within a second even under load.</summary>
    public TimeSpan SlowLimit { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>A drive that has been at one operation for longer is given up. Default: the time after which the Linux kernel itself resets a drive that does not answer (SCSI and NVMe command timeouts).</summary>
    public TimeSpan HangLimit { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Errors count for this long.</summary>
    public TimeSpan ErrorWindow { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Failed operations and poisoned volumes within the window at which a drive is given up. A single bad sector makes two or three.</summary>
    public int MaxErrors { get; init; } = 16;

    /// <summary>Corrupt fragments within the window at which a drive is given up; of one volume at most 8 count.</summary>
    public int MaxCorruptFragments { get; init; } = 64;

    /// <summary>How long a failed drive is left alone at least; doubled each time it fails again, up to <see cref="MaxReopenDelay"/>, and forgotten when it has served for as long as that.</summary>
    public TimeSpan ReopenDelay { get; init; } = TimeSpan.FromSeconds(5);

    public TimeSpan MaxReopenDelay { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>How long the start waits for the recovery of a drive, and where none has come up, for signs of life of those that are at it; later it is taken in when it is ready.</summary>
    public TimeSpan StartLimit { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>
    /// In place of <see cref="HangLimit"/> once the process is about to stop: longer than a drive that is merely slow under load takes, short enough that what waits for one that hangs ends in the time
    /// that a host leaves requests. Never more than the hang limit.
    /// </summary>
    public TimeSpan StopHangLimit { get; init; } = TimeSpan.FromSeconds(8);

    /// <summary>How long a drive may take to close at the end, where the one who closes it does not say.</summary>
    public TimeSpan CloseLimit { get; init; } = TimeSpan.FromSeconds(20);

    /// <exception cref="StorageOptionsException">A setting is out of range.</exception>
    public void Validate()
    {
        foreach ((string setting, TimeSpan value) in ((string, TimeSpan)[])[
            (nameof(ProbeInterval), ProbeInterval), (nameof(SlowLimit), SlowLimit), (nameof(HangLimit), HangLimit), (nameof(ErrorWindow), ErrorWindow),
            (nameof(ReopenDelay), ReopenDelay), (nameof(MaxReopenDelay), MaxReopenDelay), (nameof(StartLimit), StartLimit), (nameof(StopHangLimit), StopHangLimit), (nameof(CloseLimit), CloseLimit)])
        {
            if (value <= TimeSpan.Zero)
                throw new StorageOptionsException(setting, value.ToString(), "use more than zero.");
        }

        if (HangLimit < SlowLimit)
            throw new StorageOptionsException(nameof(HangLimit), HangLimit.ToString(), $"use {nameof(SlowLimit)} ({SlowLimit}) or more.");
        if (MaxErrors < 1)
            throw new StorageOptionsException(nameof(MaxErrors), $"{MaxErrors}", "use 1 or more.");
        if (MaxCorruptFragments < 1)
            throw new StorageOptionsException(nameof(MaxCorruptFragments), $"{MaxCorruptFragments}", "use 1 or more.");
    }
}

/// <summary>The drives that this process serves, as others find them. Called one at a time for each drive; the drive is removed before it is added again.</summary>
public interface IDriveSet
{
    void Add(Fragments.IFragmentStore store);

    void Remove(Guid driveId);
}
