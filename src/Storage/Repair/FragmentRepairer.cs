using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;

namespace ObjectStore.Storage.Repair;

/// <summary>
/// Makes the wanted fragments of a block whole on the drives that the map names for them now. What a drive already has is believed by its record's header, unless the fragment is
/// suspect. The rest is copied from the drive that had the slot before, where that is intact; else k others are read, once, and all that is missing is computed from
/// them. Every byte read was verified by its drive's store, and every fragment written is synced before it counts.
///
/// Holds its buffers within <see cref="StorageOptions.RepairBufferBytes"/>; only reads in place of ones that are slow or have failed go beyond it. Thread-safe.
/// </summary>
internal sealed class FragmentRepairer(ExtentStore store) : IFragmentRepairer
{
    public async ValueTask<BlockRepairResult> RepairAsync(BlockRepair work, CancellationToken cancellationToken = default)
    {
        if (((work.Suspect.Bits | work.Wanted.Bits) & ~ShardSet.All(work.Scheme.Width).Bits) != 0)
            throw new ArgumentException($"{work.Scheme} has no shard beyond {work.Scheme.Width - 1}.", nameof(work));
        var slots = new RoutedSlot[work.Scheme.Width];
        RoutedSlot[] routed = store.Route.SlotsOf(work.PlacementGroup);
        for (int shard = 0; shard < slots.Length; shard++)
            slots[shard] = ClusterRoute.SlotOf(routed, shard);
        Survey survey = await SurveyAsync(work, slots, cancellationToken).ConfigureAwait(false);
        if (survey.ToBuild.IsEmpty)
            return new BlockRepairResult(survey.Unreachable.IsEmpty ? BlockRepairStatus.Whole : BlockRepairStatus.TargetsUnavailable, default, 0, 0, survey.Details) { Missing = survey.Missing };
        FragmentDetails? details = survey.Details ?? await FindDetailsAsync(work, slots, survey, cancellationToken).ConfigureAwait(false);
        if (details is null)
        {
            BlockRepairStatus status = survey.Unanswered ? BlockRepairStatus.SourcesUnavailable : BlockRepairStatus.TooFewFragments;
            return new BlockRepairResult(status, default, 0, 0, null) { Missing = survey.Missing };
        }

        BlockRepairResult result = await BuildAsync(work, slots, survey, details, cancellationToken).ConfigureAwait(false);
        return result with { Missing = survey.Missing };
    }

    /// <summary>Which wanted fragments are to be made, and which of those have no drive to take them.</summary>
    private async ValueTask<Survey> SurveyAsync(BlockRepair work, RoutedSlot[] slots, CancellationToken cancellationToken)
    {
        var survey = new Survey();
        foreach (int shard in Shards(work.Wanted))
        {
            if (slots[shard].Sources.Length > 0)
                survey.HaveSources = survey.HaveSources.With(shard);
            if (slots[shard].Drive is not { Store: not null } lane)
            {
                survey.Unreachable = survey.Unreachable.With(shard);
                continue;
            }

            if (work.Suspect.Contains(shard))
            {
                survey.ToBuild = survey.ToBuild.With(shard);
                continue;
            }

            try
            {
                FragmentDetails? found = await StatAsync(lane, new FragmentKey(work.Extent, work.Block, (ushort)shard), cancellationToken).ConfigureAwait(false);
                if (found is null || !Fits(found, work))
                    survey.ToBuild = survey.ToBuild.With(shard);
                else
                    survey.Details ??= found;
            }
            catch (FragmentCorruptException)
            {
                survey.ToBuild = survey.ToBuild.With(shard);
            }
            catch (StorageException)
            {
                survey.Unreachable = survey.Unreachable.With(shard);
            }
        }

        return survey;
    }

    /// <summary>What the extent is, from the first fragment that says so. A suspect one is asked last: its payload may be damaged and its header not.</summary>
    private async ValueTask<FragmentDetails?> FindDetailsAsync(BlockRepair work, RoutedSlot[] slots, Survey survey, CancellationToken cancellationToken)
    {
        foreach (int shard in Enumerable.Range(0, slots.Length).OrderBy(shard => work.Suspect.Contains(shard)))
        {
            foreach (DriveLane lane in slots[shard].Candidates)
            {
                try
                {
                    if (await StatAsync(lane, new FragmentKey(work.Extent, work.Block, (ushort)shard), cancellationToken).ConfigureAwait(false) is { } found && Fits(found, work))
                        return found;
                }
                catch (FragmentCorruptException)
                {
                    // It may be asked of others.
                }
                catch (StorageException)
                {
                    survey.Unanswered = true;
                }
            }
        }

        return null;
    }

    private async ValueTask<BlockRepairResult> BuildAsync(BlockRepair work, RoutedSlot[] slots, Survey survey, FragmentDetails details, CancellationToken cancellationToken)
    {
        int shardBytes = work.Scheme.ShardBytes(details.BlockLengthBytes);
        var candidates = new DriveLane[slots.Length][];
        for (int shard = 0; shard < slots.Length; shard++)
        {
            // What is to be made is not on its own drive, but may be on one that had the slot before.
            bool isSuspect = work.Suspect.Contains(shard);
            candidates[shard] = isSuspect && !work.ReadsSuspects ? [] : survey.ToBuild.Contains(shard) && !isSuspect ? slots[shard].Sources : slots[shard].Candidates;
        }

        ShardRange[] wanted = [.. Shards(survey.ToBuild).Select(shard => new ShardRange(shard, 0, shardBytes))];
        var findings = new BlockFindings();
        var address = new BlockAddress(work.Extent, work.PlacementGroup, work.Scheme, work.Block, shardBytes);
        await store.RepairBudget.TakeAsync(BlockLoad.RepairCostBytes(store.Buffers, wanted, address), null, Timeout.InfiniteTimeSpan, cancellationToken).ConfigureAwait(false);
        ShardBuffer[] buffers;

        // Drives that are out do not count as ones that do not answer: whether to wait for them is for those to say who asked for the repair.
        try
        {
            buffers = await BlockLoad.RunAsync(store, address, wanted, candidates, absent: default, store.RepairBudget, findings, cancellationToken, forRepair: true).ConfigureAwait(false);
        }
        catch (ExtentUnavailableException)
        {
            return new BlockRepairResult(BlockRepairStatus.SourcesUnavailable, default, findings.BytesRead, 0, details);
        }
        catch (ExtentLostException)
        {
            return new BlockRepairResult(BlockRepairStatus.TooFewFragments, default, findings.BytesRead, 0, details);
        }

        ReportOthers(work, slots, survey, findings);
        bool[] written = await Task.WhenAll(wanted.Select((range, i) => WriteAsync(work, slots[range.Shard].Drive!, details, range.Shard, buffers[i], shardBytes))).ConfigureAwait(false);
        ShardSet rebuilt = default;
        for (int i = 0; i < wanted.Length; i++)
        {
            if (written[i])
                rebuilt = rebuilt.With(wanted[i].Shard);
        }

        StorageMetrics.FragmentsRebuilt.Add(rebuilt.Count);
        StorageMetrics.BytesRebuilt.Add((long)rebuilt.Count * shardBytes);
        bool whole = rebuilt == survey.ToBuild && survey.Unreachable.IsEmpty;
        return new BlockRepairResult(whole ? BlockRepairStatus.Whole : BlockRepairStatus.TargetsUnavailable, rebuilt, findings.BytesRead, (long)rebuilt.Count * shardBytes, details);
    }

    /// <summary>Takes over the buffer. Not cancelled: a fragment that is begun is finished, so that nobody has to guess.</summary>
    private async Task<bool> WriteAsync(BlockRepair work, DriveLane lane, FragmentDetails details, int shard, ShardBuffer buffer, int shardBytes)
    {
        Memory<byte> payload = buffer.Memory[..shardBytes];
        var fragment = new FragmentWrite(
            details.Descriptor, work.Scheme, details.BlockSizeBytes, work.Block, details.BlockLengthBytes, shard, payload, ChunkChecksums.Compute(payload.Span));
        DriveLane.Operation operation = lane.BeginWrite(buffer.LengthBytes);
        Exception? error = null;
        try
        {
            await ExtentCommit.StoreAsync(lane, fragment, sync: true).ConfigureAwait(false);
        }
        catch (Exception e) when (e is StorageException or IOException or ObjectDisposedException)
        {
            error = e; // the fragment is not rebuilt; the caller tries again later
        }
        finally
        {
            lane.EndWrite(operation, error);
            buffer.Release();
        }

        return error is null;
    }

    /// <summary>Damage met while reading that nobody asked about.</summary>
    private void ReportOthers(BlockRepair work, RoutedSlot[] slots, Survey survey, BlockFindings findings)
    {
        ulong known = work.Suspect.Bits | survey.ToBuild.Bits;
        ShardSet missing = default;
        foreach (int shard in findings.Missing)
        {
            if (slots[shard].IsComplete)
                missing = missing.With(shard);
        }

        missing = new ShardSet(missing.Bits & ~known);
        if (!missing.IsEmpty)
            store.Repairs.Report(new RepairNotice(work.Extent, work.PlacementGroup, work.Scheme, work.Block, 1, missing, RepairReason.MissingOnRead));
        var corrupt = new ShardSet(findings.Corrupt.Bits & ~known);
        if (!corrupt.IsEmpty)
            store.Repairs.Report(new RepairNotice(work.Extent, work.PlacementGroup, work.Scheme, work.Block, 1, corrupt, RepairReason.CorruptOnRead));
    }

    private async ValueTask<FragmentDetails?> StatAsync(DriveLane lane, FragmentKey key, CancellationToken cancellationToken)
    {
        DriveLane.Operation operation = lane.BeginWrite(0);
        Exception? error = null;
        try
        {
            IFragmentStore drive = lane.Store ?? throw new DriveUnavailableException(lane.DriveId, "it cannot be reached from here");
            return await drive.StatAsync(key, cancellationToken).AsTask().WaitAsync(store.Options.ReadTimeout, store.Time, cancellationToken).ConfigureAwait(false);
        }
        catch (TimeoutException e)
        {
            throw error = new DriveUnavailableException(lane.DriveId, $"it did not answer within {store.Options.ReadTimeout.TotalSeconds} s", e);
        }
        catch (Exception e)
        {
            error = e;
            throw;
        }
        finally
        {
            lane.EndWrite(operation, error);
        }
    }

    private static bool Fits(FragmentDetails details, BlockRepair work)
        => details.Scheme == work.Scheme && details.Descriptor.PlacementGroup == work.PlacementGroup && details.PayloadBytes == work.Scheme.ShardBytes(details.BlockLengthBytes);

    private static List<int> Shards(ShardSet set)
    {
        var shards = new List<int>(set.Count);
        foreach (int shard in set)
            shards.Add(shard);
        return shards;
    }

    /// <summary>What is known of a block before anything is read.</summary>
    private sealed class Survey
    {
        public ShardSet ToBuild { get; set; }

        public ShardSet Unreachable { get; set; }

        /// <summary>Those that may be on a drive that had the slot before.</summary>
        public ShardSet HaveSources { get; set; }

        /// <summary>Those that nothing speaks for.</summary>
        public ShardSet Missing => new((ToBuild.Bits | Unreachable.Bits) & ~HaveSources.Bits);

        /// <summary>Whether some drive that may have a fragment did not answer.</summary>
        public bool Unanswered { get; set; }

        public FragmentDetails? Details { get; set; }
    }
}
