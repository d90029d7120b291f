namespace ObjectStore.Grains;

/// <summary>
/// Decides which drives get a smaller share of their pool because they are full while others are not, and which get theirs back. A drive's share goes by its size; that other data is on its
/// disk, or that its weight does not suit it, fills it long before the others, and then every extent of its groups is a fragment short.
///
/// A step is a tenth of the share. The next waits until what the last one moved has arrived, and for <see cref="GrainOptions.FullDrivePatience"/>, in which deletions and compaction give
/// room back. A share is taken only while other drives have a tenth of their size free, and comes back only when the drive has a tenth of its size more free than the others: between both
/// there is room for whatever a step moves, so that nothing goes to and fro.
///
/// Knows what it was told since it was made: it may decide later than it could, never sooner. Not thread-safe.
/// </summary>
internal sealed class DriveShares(TimeProvider time, GrainOptions options)
{
    /// <summary>Of the share, at a time.</summary>
    public const double Step = 0.1;

    /// <summary>So much of its share a drive may lose. The rest keeps what it cannot get rid of.</summary>
    public const double MostReduced = 0.9;

    // Of the size of drives.
    private const double Room = 0.1;

    // What was told so long ago is not known any more: two reports may be lost.
    private const int ReportsKept = 3;

    private readonly Dictionary<string, Drive> _drives = new(StringComparer.Ordinal);

    /// <summary>Takes in what a drive's node says.</summary>
    /// <param name="driveId">In its normal form.</param>
    public void Hear(string driveId, DriveSpace space)
    {
        long now = time.GetTimestamp();
        if (!_drives.TryGetValue(driveId, out Drive? drive))
            _drives.Add(driveId, drive = new Drive { Since = now, IsFull = space.IsFull });
        if (drive.IsFull != space.IsFull || time.GetElapsedTime(drive.HeardAt, now) > Kept)
            (drive.IsFull, drive.Since) = (space.IsFull, now);
        (drive.HeardAt, drive.CapacityBytes, drive.FreeBytes) = (now, space.CapacityBytes, space.FreeBytes);
    }

    /// <summary>The new reduction of every drive that is due for another. None while a drive that has a share is not known.</summary>
    /// <param name="drives">All that have a share.</param>
    /// <param name="isSettled">Whether all that a drive was to give and to get has arrived.</param>
    public IReadOnlyList<(string DriveId, double Reduction)> Decide(IReadOnlyCollection<DriveRecord> drives, Func<string, bool> isSettled)
    {
        List<(string, double)> changes = [];
        foreach (string gone in _drives.Keys.Except(drives.Select(drive => drive.DriveId)).ToArray())
            _drives.Remove(gone);
        if (drives.Any(record => !_drives.TryGetValue(record.DriveId, out Drive? drive) || drive.CapacityBytes <= 0 || time.GetElapsedTime(drive.HeardAt) > Kept))
            return changes;
        foreach (DriveRecord record in drives)
        {
            Drive drive = _drives[record.DriveId];
            if (drive.IsFull ? record.Reduction >= MostReduced : record.Reduction <= 0)
                continue;
            if (time.GetElapsedTime(drive.Since) < options.FullDrivePatience)
                continue;
            double elsewhere = FreeShare(drives.Where(other => other != record).Select(other => _drives[other.DriveId]).Where(other => !other.IsFull));
            bool isDue = drive.IsFull ? elsewhere >= Room : drive.FreeShare >= elsewhere + Room;
            if (isDue && isSettled(record.DriveId))
                changes.Add((record.DriveId, drive.IsFull ? Math.Min(MostReduced, Round(record.Reduction + Step)) : Math.Max(0, Round(record.Reduction - Step))));
        }

        return changes;
    }

    /// <summary>The drive's time begins anew: its share was changed, or a change was found to be of no use.</summary>
    public void Restart(string driveId) => _drives[driveId].Since = time.GetTimestamp();

    private TimeSpan Kept => ReportsKept * options.SpaceReportInterval;

    private static double Round(double share) => Math.Round(share, 3);

    private static double FreeShare(IEnumerable<Drive> drives)
    {
        double free = 0, all = 0;
        foreach (Drive drive in drives)
            (free, all) = (free + drive.FreeBytes, all + drive.CapacityBytes);
        return all > 0 ? free / all : 0;
    }

    private sealed class Drive
    {
        /// <summary>Since when it has been full, or not, without a change of its share.</summary>
        public long Since { get; set; }

        public bool IsFull { get; set; }

        public long HeardAt { get; set; }

        public long CapacityBytes { get; set; }

        public long FreeBytes { get; set; }

        public double FreeShare => FreeBytes / (double)CapacityBytes;
    }
}
