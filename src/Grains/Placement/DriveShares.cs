namespace ObjectStore.Grains;

/// <summary>
/// Decides which drives get a smaller share of their pool because they are full while others are not, and which get theirs back. A drive's share goes by its size; that other data is on its
/// disk, or that its weight does not suit it, fills it long before the others, and then every extent of its groups is a fragment short.
///
/// A drive is due when it has been full for <see cref="GrainOptions.FullDrivePatience"/> since the last step's bytes had left it, in which time deletions and compaction give room back, and
/// the others have a tenth of their size more free than it has. It gets its share back when it would still be about as empty as they are with it. Between both lies more than a step moves, so
/// that nothing goes to and fro.
///
/// Knows what it was told since it was made: it may decide later than it could, never sooner. Not thread-safe.
/// </summary>
internal sealed class DriveShares(TimeProvider time, GrainOptions options)
{
    /// <summary>Of the share, the least that a change is.</summary>
    public const double Step = 0.1;

    /// <summary>So much of its share a drive may lose. The rest keeps what it cannot get rid of.</summary>
    public const double MostReduced = 0.9;

    // Of the size of drives: how much more the others must have free, and what a drive must have free that gets slots of a full one.
    private const double Room = 0.1;

    // So much more free than when it was full, and it is not full any more; so little more says nothing of whether it is getting better.
    private const double Better = 0.01;

    // What was told so long ago is not known any more: two reports may be lost.
    private const int ReportsKept = 3;

    private readonly Dictionary<string, Drive> _drives = new(StringComparer.Ordinal);

    /// <summary>Takes in what a drive's node says.</summary>
    /// <param name="driveId">In its normal form.</param>
    public void Hear(string driveId, DriveSpace space)
    {
        long now = time.GetTimestamp();
        if (!_drives.TryGetValue(driveId, out Drive? drive))
            _drives.Add(driveId, drive = new Drive { Since = now, HeardAt = now });
        double free = space.CapacityBytes > 0 ? Math.Clamp(space.FreeBytes / (double)space.CapacityBytes, 0, 1) : 0;
        bool wasFull = drive.IsFull;

        // A volume that has been deleted makes room for a moment; that ends no fullness. And a drive that nothing is written to says that it is full long after it has room again.
        drive.IsFull = space.IsFull ? !wasFull || free < drive.FullAt + Better : wasFull && free < Room && free < drive.FullAt + Better;
        if (drive.IsFull && space.IsFull)
            drive.FullAt = wasFull ? Math.Min(drive.FullAt, free) : free;
        if (drive.IsFull != wasFull || time.GetElapsedTime(drive.HeardAt, now) > Kept)
            drive.Since = now;
        (drive.HeardAt, drive.CapacityBytes, drive.Free) = (now, space.CapacityBytes, free);
    }

    /// <summary>
    /// The drives whose share is to be changed now: all that are full, when one of them is due, or one that gets some of its share back. Full drives lose theirs together, or each would gain by what another
    /// loses. None while a drive that has a share is not known.
    /// </summary>
    /// <param name="drives">All that have a share.</param>
    /// <param name="isMoving">Whether something is on its way from the drive; and whether to it.</param>
    public (IReadOnlyList<DriveRecord> Drives, bool Less) FindDue(IReadOnlyCollection<DriveRecord> drives, Func<string, (bool From, bool To)> isMoving)
    {
        foreach (string gone in _drives.Keys.Except(drives.Select(drive => drive.DriveId)).ToArray())
            _drives.Remove(gone);
        if (drives.Any(record => !IsKnown(record.DriveId)))
            return ([], false);
        List<DriveRecord> full = [];
        DriveRecord? back = null;
        bool isFullDue = false;
        foreach (DriveRecord record in drives)
        {
            Drive drive = _drives[record.DriveId];
            bool isLess = drive.IsFull;
            if (isLess ? record.Reduction >= MostReduced : record.Reduction <= 0)
                continue;

            // What a full drive is to get cannot arrive: that is no reason to wait.
            (bool from, bool to) = isMoving(record.DriveId);
            if (from || (to && !isLess))
            {
                drive.Since = time.GetTimestamp();
                continue;
            }

            bool isDue = time.GetElapsedTime(drive.Since) >= options.FullDrivePatience;
            double elsewhere = FreeElsewhere(record.DriveId, drives);
            if (isLess && elsewhere >= drive.Free + Room)
            {
                full.Add(record);
                isFullDue |= isDue;
            }
            else if (!isLess && isDue && 1 - ((1 - drive.Free) * (1 - record.Reduction + Step) / (1 - record.Reduction)) >= elsewhere - (Room / 4))
            {
                back ??= record;
            }
        }

        return isFullDue ? (full, true) : back is null ? ([], false) : ([back], false);
    }

    /// <summary>Whether the drive may get what a full one gives up.</summary>
    public bool HasRoom(string driveId) => IsKnown(driveId) && _drives[driveId] is { IsFull: false, Free: >= Room };

    /// <summary>The drive's time begins anew: its share was changed, or a change was found to be of no use.</summary>
    public void Restart(string driveId) => _drives[driveId].Since = time.GetTimestamp();

    private TimeSpan Kept => ReportsKept * options.SpaceReportInterval;

    /// <summary>Of a full drive the size may be missing: it could not be looked at for want of space.</summary>
    private bool IsKnown(string driveId)
        => _drives.TryGetValue(driveId, out Drive? drive) && (drive.CapacityBytes > 0 || drive.IsFull) && time.GetElapsedTime(drive.HeardAt) <= Kept;

    private double FreeElsewhere(string driveId, IReadOnlyCollection<DriveRecord> drives)
    {
        double free = 0, all = 0;
        foreach (DriveRecord other in drives)
        {
            if (other.DriveId != driveId && _drives[other.DriveId] is { CapacityBytes: > 0 } drive)
                (free, all) = (free + (drive.Free * drive.CapacityBytes), all + drive.CapacityBytes);
        }

        return all > 0 ? free / all : 0;
    }

    private sealed class Drive
    {
        /// <summary>Since when it has been full, or not, with nothing on its way and without a change of its share.</summary>
        public long Since { get; set; }

        public bool IsFull { get; set; }

        /// <summary>The least it had free while it was full, of its size.</summary>
        public double FullAt { get; set; }

        public long HeardAt { get; set; }

        public long CapacityBytes { get; set; }

        /// <summary>Of its size.</summary>
        public double Free { get; set; }
    }
}
