using System.Buffers.Binary;
using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Recovery;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Compaction;

/// <summary>Reads a volume from end to end and compares it with what it was.</summary>
internal sealed class VolumeVerifier(DriveEngine engine)
{
    private const int WindowBytes = 4 << 20;
    private const long StepBytes = 8 << 20;

    public async ValueTask<VolumeVerification?> VerifyAsync(long volumeId, long bytesPerSecond, CancellationToken cancellationToken)
    {
        if (!engine.Index.Volumes.TryGetValue(volumeId, out Volume? volume))
            return null;
        using var window = new AlignedBuffer(WindowBytes);
        var pass = new Pass(engine, volume, window);
        var rate = new RateLimit(bytesPerSecond, engine.Time);
        try
        {
            while (!pass.IsAtEnd)
            {
                cancellationToken.ThrowIfCancellationRequested();
                long before = pass.Position;
                if (engine.Threaded)
                    await engine.Threads.RunAsync(pass.Step, window).ConfigureAwait(false);
                else
                    pass.Step();
                StorageMetrics.VerifiedBytes.Add(pass.Position - before);
                await rate.SpendAsync(pass.Position - before, cancellationToken).ConfigureAwait(false);
            }

            // One page an operation: the whole index may take longer to read than a drive may take over one operation before it is given up.
            for (bool more = pass.IsToBeChecked(); more;)
            {
                cancellationToken.ThrowIfCancellationRequested();
                more = engine.Threaded ? await engine.Threads.RunAsync(pass.CheckPage, window).ConfigureAwait(false) : pass.CheckPage();
            }

            return pass.Finish();
        }
        catch (ObjectDisposedException) when (!engine.Index.Volumes.ContainsKey(volumeId))
        {
            return null; // deleted meanwhile
        }
    }

    private sealed class Pass(DriveEngine engine, Volume volume, AlignedBuffer window)
    {
        // Of a sealed volume what is on the medium, however much of it is in memory, and nothing else is pushed out of there for it.
        private readonly VolumeScanner _scanner = new(volume.File, volume.Header, window, volume.State == Index.VolumeState.Sealed ? ReadCaching.Medium : ReadCaching.Fill);
        private readonly List<long> _intact = []; // offsets, ascending
        private readonly long _end = volume.DurableEnd;
        private readonly bool _sealed = volume.State == Index.VolumeState.Sealed;
        private ulong _checksum;
        private long _checksumEnd;
        private bool? _matches;
        private bool _suspect;
        private readonly List<FragmentEntry> _damaged = [];
        private FragmentKey? _checked;
        private long _live;

        public long Position { get; private set; } = VolumeFormat.LogStart;

        public bool IsAtEnd => Position >= _end;

        public bool Step()
        {
            long position = Position, stop = Math.Min(_end, Position + StepBytes);
            while (position < stop)
            {
                long expected = position;
                bool found = _scanner.TryNext(ref position, _end, out RecordHeader record, out ReadOnlySpan<byte> bytes, out bool intact);
                _suspect |= !intact && found || (position != expected && position != VolumeFormat.AlignToPage(expected)); // bytes that are no record were stepped over
                if (!found)
                    break;
                if (intact && record.IsFragment)
                    _intact.Add(record.Offset);
                if (intact && record.Kind == RecordKind.Footer && _sealed)
                {
                    ReadOnlySpan<byte> footer = bytes.Slice(record.PayloadOffset, record.PayloadBytes);
                    (ulong checksum, long length) = (BinaryPrimitives.ReadUInt64LittleEndian(footer), BinaryPrimitives.ReadInt64LittleEndian(footer[8..]));
                    Sum(record.Offset);
                    _matches = checksum == _checksum && length == record.Offset;
                }

                position = VolumeScanner.After(record, intact);
            }

            Position = Math.Max(position, stop);
            if (_matches is null)
                Sum(Math.Min(position, _end));
            return true;
        }

        public VolumeVerification Finish() => new(volume.Id, _sealed ? _matches ?? false : null, _end, _live, _damaged);

        /// <summary>Whether the fragments have to be looked at one by one. Called at the end of the volume.</summary>
        public bool IsToBeChecked()
        {
            _live = engine.Index.Useful(volume).LiveFragments;
            if (!_suspect && _matches != false && (!_sealed || _matches is not null) && _intact.Count >= _live)
                return false;
            _live = 0;
            return true;
        }

        /// <summary>Looks at each valid fragment that was not seen intact once more, since fragments come and go while a volume is read. False at the end.</summary>
        public bool CheckPage()
        {
            (List<(FragmentKey, FragmentLocation)> page, _checked) = engine.Index.ListVolume(volume.Id, _checked);
            foreach ((FragmentKey key, FragmentLocation location) in page)
            {
                if (location.Offset >= _end)
                    continue;
                if (_intact.BinarySearch(location.Offset) >= 0 || _scanner.IsIntact(key, location.Offset, location.RecordBytes, volume.DurableEnd))
                {
                    _live++;
                }
                else if (engine.Index.IsLive(key, volume.Id, location.Offset))
                {
                    engine.Corrupt(key, location, "verification found it damaged");
                    _damaged.Add(new FragmentEntry(key, location.PlacementGroup, location.SchemeId, location.PayloadBytes));
                }
            }

            return _checked is not null;
        }

        private void Sum(long end)
        {
            _checksum = _scanner.Checksum(_checksum, _checksumEnd, end);
            _checksumEnd = end;
        }
    }
}
