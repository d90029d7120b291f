using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Security.Cryptography;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Maintenance.Repair;

internal enum PassKind
{
    /// <summary>Brings incomplete slots up to date.</summary>
    Fill,

    /// <summary>Compares the listings of the newest extents.</summary>
    Recent,

    /// <summary>Compares the listings of everything.</summary>
    Audit,
}

/// <summary>What one pass is about: placement groups with their slots as they are when it begins.</summary>
/// <param name="CursorName">Names these slots and no others, so that a cursor is never taken for that of another pass.</param>
/// <param name="SlotsWithoutSource">Slots of each group whose fragments are nowhere at hand.</param>
internal sealed record PassPlan(
    PassKind Kind, string CursorName, long Epoch, int SlotsWithoutSource, ImmutableDictionary<int, IReadOnlyList<GroupSlot>> Groups, ExtentId? From, ExtentId? Until)
{
    internal const string CursorPrefix = "repair/pass/";

    /// <summary>Every drive that may hold fragments of these groups.</summary>
    public IReadOnlySet<Guid> Drives { get; } = Groups.Values.SelectMany(slots => slots).SelectMany(DrivesOf).ToHashSet();

    public static IEnumerable<Guid> DrivesOf(GroupSlot slot) => slot.Drive is { } drive ? slot.Sources.Prepend(drive) : slot.Sources;

    /// <summary>Whether drives that are out held slots of the group before and have not been replaced yet.</summary>
    public static bool HaveAbsent(IReadOnlyList<GroupSlot> slots) => slots.Any(slot => !slot.Absent.IsEmpty);

    /// <summary>The same of a group that the map may not have.</summary>
    public static bool HaveAbsent(IClusterMap map, int group) => MapLookup.TrySlotsOf(map, group, out IReadOnlyList<GroupSlot> slots) && HaveAbsent(slots);

    /// <summary>
    /// The passes that fill the map's incomplete slots, most urgent first: those of groups in which slots have their fragments nowhere at hand, and of these the ones whose blocks can lose the
    /// fewest more, and among these the narrowest, of which the fewest fragments are left. Slots without a drive that answers are left out; nothing can be done for them.
    /// </summary>
    /// <param name="map">The map.</param>
    /// <param name="drives">Those that can be reached.</param>
    /// <param name="parityOf">How many fragments a block in a group of a width can lose.</param>
    public static ImmutableArray<PassPlan> Fill(IClusterMap map, IFragmentStoreDirectory drives, Func<int, int> parityOf)
    {
        Dictionary<int, int> parity = map.Widths.ToDictionary(width => width, parityOf);
        var passes = new SortedDictionary<(bool IsMove, int Spare, int Width, int Without), Dictionary<int, IReadOnlyList<GroupSlot>>>();
        foreach (PlacementGroupId group in map.Groups)
        {
            IReadOnlyList<GroupSlot> slots = map.SlotsOf(group);
            if (!slots.Any(slot => !slot.IsComplete && slot.Drive is { } target && drives.Find(target) is { IsReachable: true }))
                continue;
            int without = slots.Count(slot => !IsAtHand(slot, drives));
            (bool, int, int, int) urgency = (without == 0, parity[group.Width] - without, group.Width, without);
            if (!passes.TryGetValue(urgency, out Dictionary<int, IReadOnlyList<GroupSlot>>? groups))
                passes.Add(urgency, groups = []);
            groups.Add(group.Value, slots);
        }

        return [.. passes.Select(pass => new PassPlan(PassKind.Fill, CursorPrefix + Digest(pass.Value), map.Epoch, pass.Key.Without, pass.Value.ToImmutableDictionary(), null, null))];
    }

    /// <summary>A comparison of all drives' listings.</summary>
    public static PassPlan Compare(PassKind kind, string cursorName, IClusterMap map, ExtentId? from, ExtentId? until) => new(
        kind, cursorName, map.Epoch, 0, map.Groups.ToImmutableDictionary(group => group.Value, map.SlotsOf), from, until);

    private static bool IsAtHand(GroupSlot slot, IFragmentStoreDirectory drives)
        => (slot.IsComplete && slot.Drive is { } drive && drives.Find(drive) is { IsReachable: true }) || slot.Sources.Any(source => drives.Find(source) is { IsReachable: true });

    private static string Digest(Dictionary<int, IReadOnlyList<GroupSlot>> groups)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Span<byte> bytes = stackalloc byte[25];
        foreach ((int group, IReadOnlyList<GroupSlot> slots) in groups.OrderBy(group => group.Key))
        {
            BinaryPrimitives.WriteInt32LittleEndian(bytes, group);
            hash.AppendData(bytes[..4]);
            foreach (GroupSlot slot in slots)
            {
                bytes[0] = (byte)((slot.IsComplete ? 1 : 0) | (slot.Drive is null ? 2 : 0));
                (slot.Drive ?? Guid.Empty).TryWriteBytes(bytes[1..]);
                BinaryPrimitives.WriteInt64LittleEndian(bytes[17..], slot.Since);
                hash.AppendData(bytes);
                foreach (Guid source in slot.Sources)
                {
                    bytes[0] = 4;
                    source.TryWriteBytes(bytes[1..]);
                    hash.AppendData(bytes[..17]);
                }

                // While they are waited for, groups stay undone that are done once they are given up.
                foreach (Guid absent in slot.Absent)
                {
                    bytes[0] = 8;
                    absent.TryWriteBytes(bytes[1..]);
                    hash.AppendData(bytes[..17]);
                }
            }
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset().AsSpan(0, 16));
    }
}
