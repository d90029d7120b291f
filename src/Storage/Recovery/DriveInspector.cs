using System.Globalization;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Index;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Recovery;

/// <summary>One volume of a drive, from its header and the index.</summary>
/// <param name="State">active, sealed, poisoned or deleting as the index says; unknown where it does not.</param>
/// <param name="FileBytes">0 where there is no file.</param>
/// <param name="LiveBytes">Null where the index does not know the volume.</param>
/// <param name="Problem">Null where nothing is wrong.</param>
public sealed record InspectedDriveVolume(long Id, string State, long FileBytes, long CapacityBytes, DateTimeOffset? Created, long? LiveBytes, long? GarbageBytes, long? LiveFragments, string? Problem);

/// <summary>A drive folder as it lies there.</summary>
/// <param name="InUse">A process holds its lock: the index is behind by what that process has in memory.</param>
/// <param name="IndexProblem">Why the index tells nothing; null where it does.</param>
public sealed record DriveInspection(
    string Path, Guid ClusterId, Guid DriveId, bool InUse, long CapacityBytes, long FreeBytes, long? IndexBytes, string? IndexProblem, IReadOnlyList<InspectedDriveVolume> Volumes)
{
    /// <summary>An index that is missing or behind is no damage: it is rebuilt from the volumes.</summary>
    public bool IsDamaged => Volumes.Any(volume => volume.Problem is not null);
}

/// <summary>Looks at a drive folder without changing anything in it, whether a store has it or not.</summary>
public static class DriveInspector
{
    private const string IndexName = "index.db";

    /// <exception cref="DriveIdentityException">The folder is not there, or is no drive, or its identity is damaged.</exception>
    /// <exception cref="IOException">The folder cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be read.</exception>
    public static DriveInspection Inspect(string path)
    {
        path = System.IO.Path.GetFullPath(path);
        DriveIdentity identity = ReadIdentity(path);
        bool inUse = IsInUse(path);
        string index = System.IO.Path.Combine(path, IndexName);
        Dictionary<long, VolumeRow>? rows = ReadVolumes(index, identity.DriveId, inUse, out string? indexProblem);
        var volumes = new List<InspectedDriveVolume>();
        HashSet<long> files = [];
        string folder = System.IO.Path.Combine(path, "volumes");
        foreach (string file in Directory.Exists(folder) ? Directory.GetFiles(folder, "*.vol") : [])
        {
            if (!long.TryParse(System.IO.Path.GetFileNameWithoutExtension(file), NumberStyles.None, CultureInfo.InvariantCulture, out long id))
                continue;
            files.Add(id);
            volumes.Add(Look(file, id, identity, rows?.GetValueOrDefault(id)));
        }

        foreach (VolumeRow row in rows?.Values.Where(row => !files.Contains(row.Id)) ?? [])
        {
            // With nothing alive in it, or on its way out, a volume may go at any time.
            if (row.LiveFragments > 0 && row.State != VolumeState.Deleting)
                volumes.Add(Describe(row.Id, 0, null, row, $"the file is gone, with {row.LiveFragments} fragments"));
        }

        volumes.Sort((left, right) => left.Id.CompareTo(right.Id));
        var space = new DriveInfo(path);
        return new DriveInspection(
            path, identity.ClusterId, identity.DriveId, inUse, space.TotalSize, space.AvailableFreeSpace, File.Exists(index) ? new FileInfo(index).Length : null, indexProblem, volumes);
    }

    /// <exception cref="DriveIdentityException">The folder is not there, or is no drive, or its identity is damaged.</exception>
    internal static DriveIdentity ReadIdentity(string path)
    {
        if (!Directory.Exists(path))
            throw new DriveIdentityException(path, "there is no such folder.");
        string file = System.IO.Path.Combine(path, "drive.json");
        return File.Exists(file) ? DriveIdentity.Decode(File.ReadAllBytes(file), path) : throw new DriveIdentityException(path, "it has no drive.json, so it is no drive.");
    }

    private static bool IsInUse(string path)
    {
        string file = System.IO.Path.Combine(path, "lock");
        if (!File.Exists(file))
            return false;
        try
        {
            // The lock that a store takes, for an instant.
            using var probe = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.None, 1);
            return false;
        }
        catch (IOException)
        {
            return true;
        }
    }

    private static InspectedDriveVolume Look(string file, long id, DriveIdentity identity, VolumeRow? row)
    {
        long length = 0;
        VolumeHeader? header = null;
        string? problem;
        try
        {
            using var volume = new ReadOnlyVolumeFile(file);
            length = volume.LengthBytes;
            header = VolumeInspector.ReadHeader(volume, id, out problem);
            if (header is null && row is null && volume.NextData(0) >= length)
                problem = null; // its creation never finished; a start removes it
            else if (header is not null && header.DriveId != identity.DriveId)
                problem = $"it belongs to drive {header.DriveId}";
            else if (row is not null && length < row.CompleteBelow && (header is null || header.VolumeId == id))
                problem = $"the file is cut off at {length}; the index knows records up to {row.CompleteBelow}";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            problem = $"the file cannot be read: {e.Message}";
        }

        return Describe(id, length, header, row, problem);
    }

    private static InspectedDriveVolume Describe(long id, long length, VolumeHeader? header, VolumeRow? row, string? problem)
        => new(
            id, row is null ? "unknown" : row.State.ToString().ToLowerInvariant(), length, header?.CapacityBytes ?? 0,
            header is null ? null : DateTimeOffset.FromUnixTimeMilliseconds(Math.Clamp(header.CreatedUnixMilliseconds, 0, DateTimeOffset.MaxValue.ToUnixTimeMilliseconds())),
            row?.LiveBytes, row is null ? null : row.RecordBytes - row.LiveBytes, row?.LiveFragments, problem);

    /// <summary>The index's table of volumes, read without making or changing a file.</summary>
    internal static Dictionary<long, VolumeRow>? ReadVolumes(string index, Guid driveId, bool inUse, out string? problem)
    {
        if (!File.Exists(index))
        {
            problem = "there is none; the next start rebuilds it from the volumes";
            return null;
        }

        if (File.Exists(index + "-rebuild"))
        {
            problem = "it has missed changes after a fault; the next start rebuilds it from the volumes";
            return null;
        }

        bool hasLog = File.Exists(index + "-wal") && new FileInfo(index + "-wal").Length > 0;
        if (hasLog && !inUse)
        {
            // Reading the log would make files beside it, perhaps of another owner; without the log the file may be in the middle of a checkpoint.
            problem = "it has a log that a crash left behind; the next start reads it, or run recover-index";
            return null;
        }

        try
        {
            problem = null;
            return IndexDatabase.PeekVolumes(index, driveId, immutable: !inUse).ToDictionary(row => row.Id);
        }
        catch (Exception e) when (e is IndexDamagedException or IOException)
        {
            problem = inUse ? $"the process that uses the drive keeps it locked ({e.Message.TrimEnd('.')})" : $"it cannot be read ({e.Message.TrimEnd('.')}); where it is damaged the next start rebuilds it from the volumes";
            return null;
        }
    }
}
