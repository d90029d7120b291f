using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Index;

namespace ObjectStore.Storage.Volumes;

/// <summary>A record written but not yet synced, to be applied to the index once it is.</summary>
/// <param name="Source">Of a copy: the place that the index must still name, or the copy is dead.</param>
internal readonly record struct PendingRecord(FragmentKey Key, FragmentLocation Location, TombstoneEntry[]? Tombstones, int RecordBytes, (long VolumeId, long Offset)? Source = null);

/// <summary>
/// One volume file and what is known of it. The append fields belong to its writer's thread; the accounting fields are guarded by the
/// index's state lock; the rest may be read by anyone.
/// </summary>
internal sealed class Volume(VolumeHeader header, IVolumeFile file) : IDisposable
{
    private long _durableEnd = VolumeFormat.LogStart;
    private volatile VolumeState _state;
    private VolumeWriter? _writer;

    public VolumeHeader Header { get; } = header;
    public IVolumeFile File { get; } = file;
    public long Id => Header.VolumeId;

    /// <summary>Neither copy of its header could be read; the index has what was in it.</summary>
    public bool HasDamagedHeader { get; init; }

    public VolumeState State
    {
        get => _state;
        set => _state = value;
    }

    /// <summary>Everything below has been synced and applied to the index.</summary>
    public long DurableEnd
    {
        get => Volatile.Read(ref _durableEnd);
        set => Volatile.Write(ref _durableEnd, value);
    }

    /// <summary>The writer that appends to it since this start; null before one has taken it.</summary>
    public VolumeWriter? Writer
    {
        get => Volatile.Read(ref _writer);
        set => Volatile.Write(ref _writer, value);
    }

    // The writer's.
    public long AppendOffset = VolumeFormat.LogStart;
    public ulong AppendChecksum;
    public bool Appended; // since this start
    public long ZeroedTo;
    public readonly List<PendingRecord> Pending = [];

    // Guarded by the index's state lock.
    public long LiveBytes;
    public long LiveFragments;
    public long RecordBytes;
    public long CompleteBelow = VolumeFormat.LogStart;
    public ulong CompleteChecksum;
    public bool Dirty;

    /// <summary>Compaction reads it.</summary>
    public bool IsPinned;

    /// <summary>Its tombstones that are still needed stand in other volumes too.</summary>
    public bool TombstonesCarried;

    /// <summary>Compaction could not read all of its tombstones that are still needed; it does not try again in this run of the process.</summary>
    public bool TombstonesLost;

    /// <summary>Live fragments that compaction could not move, because they are damaged; it does not try again until their number has changed.</summary>
    public long UnmovableFragments;

    public void Dispose() => File.Dispose();
}
