using ObjectStore.Storage.Drives;

namespace ObjectStore.Storage.Simulation;

/// <summary>The process is gone: thrown by every call on a drive from the moment of a simulated crash.</summary>
internal sealed class SimulatedCrashException() : Exception("The simulated machine has lost power.");

/// <summary>What goes wrong on a simulated drive, decided per call from the seed.</summary>
internal sealed class FaultPlan
{
    /// <summary>Power is cut before this operation (writes, syncs, creations, deletions, truncations count); null never.</summary>
    public long? PowerCutBeforeOperation { get; set; }

    /// <summary>The file is made, but the sync of the folder fails.</summary>
    public double CreateErrorProbability { get; set; }

    /// <summary>Asked before each of these operations where drives share a machine's power. From the first false on none takes effect; it is an <see cref="IOException"/>, for drives with threads.</summary>
    public Func<bool>? HasPower { get; set; }

    public double WriteErrorProbability { get; set; }
    public double SyncErrorProbability { get; set; }
    public double ReadErrorProbability { get; set; }

    /// <summary>Bytes of a volume that cannot be read, until they are written.</summary>
    public Func<long, long, int, bool>? IsUnreadable { get; set; }
}

/// <summary>
/// A drive in memory that fails as real ones do, from a seed: what has not been synced may be lost, kept or torn at 512-byte sectors, in any order, when power is cut.
/// A failed write may have written some of its sectors; a failed sync leaves what was dirty on the medium or not, and forgets that it was dirty. Thread-safe.
/// </summary>
internal sealed unsafe class SimulatedDrive(int seed, long capacityBytes, string? indexPath) : IDrive
{
    private const int SectorBytes = 512;
    private readonly Lock _lock = new();
    private readonly Random _random = new(seed);
    private readonly SortedDictionary<long, SimulatedFile> _files = [];
    private byte[]? _identity;
    private bool _crashed;

    public FaultPlan Faults { get; set; } = new();

    public long Operations { get; private set; }

    /// <summary>Whether power was cut in the deletion of a volume, which the index had been told of before.</summary>
    public bool DeletionBegan { get; private set; }

    public string Path => $"simulated-{seed}";

    public string? IndexPath => indexPath;

    public long CapacityBytes { get; set; } = capacityBytes;

    public long FreeBytes
    {
        get
        {
            lock (_lock)
                return CapacityBytes - _files.Values.Sum(file => file.LengthBytes);
        }
    }

    public byte[]? ReadIdentity() => _identity;

    public void WriteIdentity(ReadOnlySpan<byte> content) => _identity = content.ToArray();

    public void Probe(ReadOnlySpan<byte> content)
    {
    }

    public IReadOnlyList<long> ListVolumes() => [.. _files.Keys];

    public IVolumeFile CreateVolume(long volumeId, long sizeBytes)
    {
        using Lock.Scope scope = _lock.EnterScope();
        Operation();
        if (sizeBytes > FreeBytes)
            throw new NoSpaceException("simulated ENOSPC");
        var file = new SimulatedFile(this, volumeId, sizeBytes);
        _files.Add(volumeId, file);
        if (Chance(Faults.CreateErrorProbability))
            throw new IOException("simulated EIO on the sync of the folder");
        return file;
    }

    public IVolumeFile OpenVolume(long volumeId)
    {
        lock (_lock)
            return _files[volumeId];
    }

    public void DeleteVolume(long volumeId)
    {
        using Lock.Scope scope = _lock.EnterScope();
        DeletionBegan = true;
        Operation();
        DeletionBegan = false;
        _files.Remove(volumeId);
    }

    /// <summary>Cuts power now: each unsynced sector is on the medium or not. The drive is as after the next start.</summary>
    public void PowerCut()
    {
        Kill();
        foreach (SimulatedFile file in _files.Values)
            file.LoseUnsynced();
    }

    /// <summary>The process is killed and the machine goes on: what was written and not synced is seen, and may still be lost. Of what goes wrong only the medium's damage stays.</summary>
    public void Kill()
    {
        _crashed = false;
        DeletionBegan = false;
        Faults = new FaultPlan { IsUnreadable = Faults.IsUnreadable };
    }

    /// <summary>Whether a power cut could lose anything now.</summary>
    public bool HasUnsynced => _files.Values.Any(file => file.HasUnsynced);

    /// <summary>Flips one bit of the medium.</summary>
    public void FlipBit(long volumeId, long offset, int bit) => _files[volumeId].FlipBit(offset, bit);

    /// <summary>Flips one bit of the medium under a page that is in memory, intact.</summary>
    public void RotBit(long volumeId, long offset, int bit) => _files[volumeId].RotBit(offset, bit);

    public byte[] Content(long volumeId) => _files[volumeId].Content();

    public void Dispose()
    {
    }

    private void Operation()
    {
        if (_crashed || Operations >= Faults.PowerCutBeforeOperation)
        {
            _crashed = true;
            throw new SimulatedCrashException();
        }

        if (Faults.HasPower?.Invoke() == false)
            throw new IOException("the simulated machine has lost power");

        Operations++;
    }

    private bool Chance(double probability) => probability > 0 && _random.NextDouble() < probability;

    private sealed class SimulatedFile(SimulatedDrive drive, long volumeId, long lengthBytes) : IVolumeFile
    {
        private readonly HashSet<long> _dirty = [];
        private byte[] _seen = new byte[lengthBytes]; // what reads return
        private byte[] _medium = new byte[lengthBytes]; // what a power cut leaves at least

        public long LengthBytes => _seen.Length;

        public bool HasUnsynced => _dirty.Count > 0;

        public bool DirectIo => true;

        public void Write(long offset, ReadOnlySpan<VolumeSegment> segments, bool throughCache)
        {
            using Lock.Scope scope = drive._lock.EnterScope();
            drive.Operation();
            bool fails = drive.Chance(drive.Faults.WriteErrorProbability);
            foreach (VolumeSegment segment in segments)
            {
                var bytes = new ReadOnlySpan<byte>((void*)segment.Address, segment.LengthBytes);
                if (offset % 4096 != 0 || bytes.Length % 4096 != 0 || segment.Address % 4096 != 0)
                    throw new InvalidOperationException("unaligned write");
                for (int at = 0; at < bytes.Length; at += SectorBytes)
                {
                    if (fails && drive._random.Next(2) == 0)
                        continue;
                    bytes.Slice(at, SectorBytes).CopyTo(_seen.AsSpan((int)offset + at));
                    _dirty.Add((offset + at) / SectorBytes);
                }

                offset += bytes.Length;
            }

            if (fails)
                throw new IOException("simulated EIO on write");
        }

        public void Sync()
        {
            using Lock.Scope scope = drive._lock.EnterScope();
            drive.Operation();
            bool fails = drive.Chance(drive.Faults.SyncErrorProbability);
            foreach (long sector in _dirty)
            {
                if (!fails || drive._random.Next(2) == 0)
                    Sector(_seen, sector).CopyTo(Sector(_medium, sector));
            }

            _dirty.Clear();
            if (fails)
                throw new IOException("simulated EIO on sync");
        }

        public void Truncate(long newLengthBytes)
        {
            using Lock.Scope scope = drive._lock.EnterScope();
            drive.Operation();
            Array.Resize(ref _seen, (int)newLengthBytes);
            Array.Resize(ref _medium, (int)newLengthBytes);
            _dirty.RemoveWhere(sector => sector * SectorBytes >= newLengthBytes);
        }

        public int Read(long offset, Span<byte> first, Span<byte> second, ReadCaching caching)
        {
            using Lock.Scope scope = drive._lock.EnterScope();
            if (caching is ReadCaching.Only or ReadCaching.IfPresent && drive._random.Next(4) == 0)
                return -1;
            if (drive.Chance(drive.Faults.ReadErrorProbability) || drive.Faults.IsUnreadable?.Invoke(volumeId, offset, first.Length + second.Length) == true)
                throw new IOException("simulated EIO on read", Posix.ErrorIo);
            if (caching == ReadCaching.Medium)
            {
                // What is dirty is written before it is read.
                long end = offset + first.Length + second.Length;
                foreach (long sector in _dirty.Where(sector => (sector + 1) * SectorBytes > offset && sector * SectorBytes < end))
                    Sector(_seen, sector).CopyTo(Sector(_medium, sector));
            }

            byte[] source = caching == ReadCaching.Medium ? _medium : _seen;
            int done = 0;
            foreach (int part in (ReadOnlySpan<int>)[0, 1])
            {
                Span<byte> destination = part == 0 ? first : second;
                int count = (int)Math.Clamp(LengthBytes - offset - done, 0, destination.Length);
                source.AsSpan((int)offset + done, count).CopyTo(destination);
                done += count;
            }

            return done;
        }

        public void EndScan()
        {
        }

        /// <summary>The page cache lets go of what is clean: what a failed sync left behind is seen no more.</summary>
        public void BeginScan(long offset)
        {
            using Lock.Scope scope = drive._lock.EnterScope();
            for (long sector = offset / SectorBytes; sector * SectorBytes < LengthBytes; sector++)
            {
                if (!_dirty.Contains(sector))
                    Sector(_medium, sector).CopyTo(Sector(_seen, sector));
            }
        }

        public long NextData(long offset)
        {
            if (offset >= LengthBytes)
                return LengthBytes;
            int next = _seen.AsSpan((int)offset).IndexOfAnyExcept((byte)0);
            return next < 0 ? LengthBytes : offset + next;
        }

        public void LoseUnsynced()
        {
            double kept = drive._random.Next(4) switch { 0 => 0, 1 => 1, _ => drive._random.NextDouble() };
            foreach (long sector in _dirty.Order())
            {
                if (drive._random.NextDouble() < kept)
                    Sector(_seen, sector).CopyTo(Sector(_medium, sector));
            }

            _dirty.Clear();
            _medium.CopyTo(_seen, 0);
        }

        public void FlipBit(long offset, int bit)
        {
            _seen[offset] ^= (byte)(1 << bit);
            _medium[offset] ^= (byte)(1 << bit);
        }

        public void RotBit(long offset, int bit) => _medium[offset] ^= (byte)(1 << bit);

        public byte[] Content() => [.. _seen];

        public void Dispose()
        {
        }

        private static Span<byte> Sector(byte[] bytes, long sector) => bytes.AsSpan((int)(sector * SectorBytes), SectorBytes);
    }
}
